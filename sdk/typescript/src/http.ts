/**
 * Plain HTTP, for networks whose proxies let neither WebTransport nor WebSockets through: to be added behind
 * the other transports.
 *
 * ```ts
 * import { http } from "@sterna/client/http";
 * const client = new Client("https://rt.example.com", {
 *   transports: ["webtransport", "websocket", http()],
 *   token,
 * });
 * ```
 *
 * It is the same session: what another transport began goes on over it and back. A page has one request open
 * for what it receives and one at a time for what it sends; browsers give six to all pages of one origin.
 *
 * @module
 */
import { behind } from "./transport/fallback.js";
import { type Fetch, httpDial } from "./transport/http.js";
import type { Fallback } from "./transport/link.js";

export type { Fetch } from "./transport/http.js";
export type { Fallback } from "./transport/link.js";

/** How to ask. */
export interface HttpOptions {
  /** The `fetch` to use, whose answers have to be readable while they arrive; the platform's by default. */
  readonly fetch?: Fetch;
  /** Where requests go, in place of the path that nodes have at the address of the client. */
  readonly url?: string;
}

/** Plain HTTP, for the option `transports` of a client. */
export function http(options: HttpOptions = {}): Fallback {
  const fetch: Fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init));
  return behind(httpDial(fetch, options.url));
}
