// Where WebTransport is sound: the one table to change when a browser is mended. Chromium's is; Firefox
// delivered only two streams of a server at a time before 153; Safari's flow control never gives credit
// back, so that sessions die after some megabytes.

/** Names in a user agent and the first version that is taken; the first row that matches decides. */
const GATE: readonly (readonly [name: RegExp, from: number])[] = [
  [/Firefox\/(\d+)/, 153],
  [/Chrom(?:e|ium)\/(\d+)/, 97],
];

/** Whether the WebTransport of this browser may be used. Unknown browsers get WebSocket. */
export function isSound(userAgent: string): boolean {
  for (const [name, from] of GATE) {
    const version = name.exec(userAgent)?.[1];
    if (version) return Number(version) >= from;
  }
  return false;
}
