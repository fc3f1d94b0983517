// What the device is connected through, for operators, who see where a session has been.
import { NETWORK } from "../wire/schema.js";

/** What a device may be connected through. */
export type Network = Exclude<(typeof NETWORK)[number], "unspecified">;

/** The network as the browser names it; most do not say, and some know others. */
export const networkType = (): unknown =>
  (globalThis.navigator as Naming | undefined)?.connection?.type;

/** By number; 0 where nobody knows. */
export function networkNumber(said: Network | undefined): number {
  return Math.max(NETWORK.indexOf((said ?? networkType()) as Network), 0);
}

/** A part of the Network Information API, which not every browser has. */
export interface Naming {
  readonly connection?: EventTarget & { readonly type?: unknown };
}
