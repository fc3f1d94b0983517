// Which transports a client has: those that the application wants, as far as the platform has them and is
// known to carry them well.
import { badOption } from "../errors.js";
import type { ClientOptions } from "../options.js";
import { isSound } from "./gate.js";
import type { Dial, TransportName, WebTransportConstructor } from "./link.js";
import { webSocketDial } from "./websocket.js";
import { webTransportDial } from "./webtransport.js";

export function dialsOf(options: ClientOptions): Map<TransportName, Dial> {
  const dials = new Map<TransportName, Dial>();
  const { transports = ["webtransport", "websocket"], certificateHashes } = options;
  const webTransport = options.webTransport ?? platformWebTransport();
  const webSocket = options.webSocket ?? globalThis.WebSocket;
  for (const name of transports) {
    if (typeof name === "function") dials.set("websocket", name(dials.get("websocket")));
    if (name === "websocket" && webSocket) dials.set(name, webSocketDial(webSocket));
    if (name === "webtransport" && webTransport) {
      dials.set(name, webTransportDial(webTransport, certificateHashes));
    }
  }
  if (dials.size > 0) return dials;
  throw badOption("none of `transports` works here");
}

/** That of a browser in which it is sound. */
function platformWebTransport(): WebTransportConstructor | undefined {
  const { WebTransport, navigator } = globalThis as Partial<typeof globalThis>;
  return WebTransport && navigator && isSound(navigator.userAgent) ? WebTransport : undefined;
}
