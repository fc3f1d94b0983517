// One connection to an edge, as the driver sees it. A link moves frames both ways and decides nothing; it
// ends when the driver closes it or the connection dies, and says so once.
import type { Init } from "../codec/message.js";
import type { Command, Frame } from "../wire/schema.js";
import type { Target } from "./target.js";

/** A way to reach an edge. */
export type TransportName = "webtransport" | "websocket" | "http";

/** Of the platform's WebSocket, what is needed; `ws` has it, too. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocket;

/** The platform's WebTransport. */
export type WebTransportConstructor = new (
  url: string,
  options?: WebTransportOptions & { protocols?: string[] },
) => WebTransport;

/** What the driver holds of a connection. */
export interface Link {
  readonly transport: TransportName;
  /** So much waits to be written that more should not be handed over now. */
  readonly isCongested: boolean;
  send(outgoing: readonly Outgoing[]): void;
  /** Closes the connection after everything that was handed over has been written. */
  close(): void;
}

/** What a link tells. */
export interface LinkEvents {
  /** Ready for the Hello. */
  established(): void;
  /** What came together; none of what comes after it. */
  frames(frames: readonly Frame[]): void;
  /** The last event; not told to whoever has closed the link. */
  ended(end: LinkEnd): void;
}

/** Begins a connection. Never throws: what is wrong is told as its end. */
export type Dial = (target: Target, events: LinkEvents) => Link;

/** What stands behind the transports before it in a list, and is tried when they have failed. */
export type Fallback = (before: Dial | undefined) => Dial;

/**
 * How a command travels: `datagram` where there are some, `bulk` on a stream of its own where there are
 * some, since the reply is long.
 */
export interface Outgoing {
  readonly route: "control" | "datagram" | "bulk";
  readonly command: Init<Command>;
}

/** Why a connection is over. */
export interface LinkEnd {
  /** The close code, where the server gave one. */
  readonly code?: number | undefined;
  readonly reason: string;
}

export const broken = (reason: unknown): LinkEnd => ({
  reason: reason instanceof Error ? reason.message : String(reason),
});

/** Bytes that wait in a link before it counts as congested. */
export const CONGESTED_BYTES = 256 * 1024;
