/**
 * WebSockets for Node: its own from version 22 on, or the package `ws`, with certificates of an authority of
 * one's own.
 *
 * ```ts
 * import WebSocket from "ws";
 * import { nodeWebSocket } from "@sterna/client/node";
 * const client = new Client("sterna://localhost:4443", {
 *   webSocket: nodeWebSocket(WebSocket, { ca: readFileSync(".sterna/keys/ca.pem") }),
 *   token,
 * });
 * ```
 *
 * @module
 */
import type { WebSocketConstructor } from "./transport/link.js";

/** The class `WebSocket` of the package `ws`, version 8. */
export interface WsConstructor {
  // biome-ignore lint/suspicious/noExplicitAny: its types are not ours to depend on.
  new (url: string, protocols: string[], options: any): unknown;
}

/** What TLS is told; see the options of `tls.connect`. */
export interface TlsOptions {
  /** Authorities to trust in place of the platform's, as PEM. */
  readonly ca?: string | Uint8Array;
  /** The name to find in the certificate; the host of the address by default. */
  readonly servername?: string;
}

/** The WebSocket of `ws`, for the option `webSocket` of a client. Never compresses. */
export function nodeWebSocket(
  WebSocket: WsConstructor,
  tls: TlsOptions = {},
): WebSocketConstructor {
  // `ws` is called with the three arguments that it takes, and gives an object as browsers have it.
  return function dial(url: string, protocols: string[]) {
    return new WebSocket(url, protocols, { perMessageDeflate: false, ...tls });
  } as unknown as WebSocketConstructor;
}
