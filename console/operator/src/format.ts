// Figures for people: short, and always with what they count.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** 7, 1,234, 98.8k. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return Math.abs(value) < 10_000 ? whole.format(value) : compact.format(value).toLowerCase();
}

/** A rate or a measurement: 0.4, 12.3, 1,234. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  if (Math.abs(value) >= 100) return count(value);
  return value.toFixed(Math.abs(value) < 1 ? 2 : 1).replace(/\.?0+$/, "") || "0";
}

/** Every digit: of what is looked up. */
export const exact = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : whole.format(value);

export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value < 1000) return `${figure(value)} ms`;
  return value < 60_000 ? `${figure(value / 1000)} s` : duration(value / 1000);
}

/** 310 µs, 3.9 ms, 48.1 ms. */
export const microseconds = (value: number): string =>
  value < 1000 ? `${whole.format(value)} µs` : milliseconds(value / 1000);

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value < 1024) return `${whole.format(value)} B`;
  const steps = Math.min(Math.floor(Math.log2(value) / 10), 4);
  return `${figure(value / 1024 ** steps)} ${["", "KiB", "MiB", "GiB", "TiB"][steps]}`;
}

/** 45 s, 3 min 20 s, 2 h 5 min, 4 d 3 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const all = Math.max(0, Math.round(seconds));
  const units: [number, string][] = [
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = units.findIndex(([size]) => all >= size);
  if (first < 0) return "0 s";
  const parts: string[] = [];
  let left = all;
  for (const [size, name] of units.slice(first, first + 2)) {
    const of = Math.floor(left / size);
    left -= of * size;
    if (of > 0) parts.push(`${of} ${name}`);
  }
  return parts.join(" ");
}

/** Epoch and offset, never on two lines. */
export const position = (
  epoch: number | null | undefined,
  offset: number | null | undefined,
): string => `${epoch ?? "–"}\u00a0:\u00a0${exact(offset)}`;

/** The time of day of a Unix time in milliseconds. */
export const clock = (ms: number, withSeconds = true): string =>
  new Date(ms).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    ...(withSeconds ? { second: "2-digit" } : {}),
  });

export const plural = (value: number, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`;

/** A session's id as long as it takes to tell it from others at sight. */
export const short = (id: string): string => (id.length > 12 ? `${id.slice(0, 8)}…` : id);

/** Names of transports for people. */
export const transport = (name: string | null | undefined): string =>
  ({
    quic: "QUIC",
    webtransport: "WebTransport",
    wss: "WebSocket",
    websocket: "WebSocket",
    http: "HTTP",
  })[name ?? ""] ??
  (name || "–");
