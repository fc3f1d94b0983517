// What callers may choose: how to connect, where a subscription starts, what the outbox does when it is
// full.
import type { OutboxStore } from "./outbox-store.js";
import type { Network } from "./session/network.js";
import type {
  Dial,
  Fallback,
  TransportName,
  WebSocketConstructor,
  WebTransportConstructor,
} from "./transport/link.js";
import type { ACTIVITY } from "./wire/schema.js";

/** A place in a channel. Offsets count from 1 without holes; an epoch is the life of one log. */
export interface Position {
  readonly epoch: number;
  readonly offset: number;
}

/**
 * How closely a subscription follows its channel: `active`, everything at once; `foreground`,
 * everything a moment later, so that what comes together is sent together; `background`, no
 * publications, only where the channel ends, now and then. What was held back comes, all of it and in
 * order, once the subscription is in another class.
 */
export type Activity = (typeof ACTIVITY)[number];

/** How to subscribe. The default: from now on, active, without presence and receipts. */
export interface SubscribeOptions {
  /**
   * Where to start: from now on (`latest`, the default), from the first publication that is kept, or
   * from what follows a position, which an earlier `position` of a subscription gave.
   */
  readonly from?: "latest" | "earliest" | Position;
  /** Receive joins and leaves, and be listed. */
  readonly presence?: boolean;
  /** Receive other members' cursors. */
  readonly receipts?: boolean;
  /**
   * In which order a long recovery arrives: everything missing, oldest first (the default), or the
   * newest page at once and the hole before it as a `gap` event, to be filled with `history`.
   */
  readonly order?: "oldest" | "newest";
  /** How closely to follow at first. */
  readonly activity?: Activity;
}

/** Bounds of the outbox. */
export interface OutboxOptions {
  /** Publications at a time; 256 by default. */
  readonly publications?: number;
  /** Bytes of payload at a time; 1 MiB by default. */
  readonly bytes?: number;
  /**
   * At the bounds: the new publication fails with `QUEUE_FULL` (`rejectNew`, the default), or the oldest
   * that has not left yet does (`dropOldest`); `failWhenOffline` is as the first, and without a connection
   * publications fail with `DISCONNECTED`.
   */
  readonly policy?: "rejectNew" | "dropOldest" | "failWhenOffline";
  /** Publications of one channel that may await their answer at a time; 32 by default. */
  readonly channelWindow?: number;
  /** Keeps what was published across restarts of the page: see `@sterna/client/outbox-idb`. */
  readonly store?: OutboxStore;
}

/** Why a token is wanted: for a connection, before it expires, or because it has expired. */
export type TokenReason = "connect" | "refresh" | "expired";

/** What a token provider is told. */
export interface TokenRequest {
  readonly reason: TokenReason;
  readonly clientId: string;
  /** Aborted when the answer is of no use any more. */
  readonly signal: AbortSignal;
}

/**
 * Gives an access token. Asked one at a time; a rejection is tried again with back-off, except for a
 * {@link SternaError} that is not retryable (say, `UNAUTHORIZED`), which ends the session.
 */
export type TokenProvider = (request: TokenRequest) => string | Promise<string>;

/** How a client is made. */
export interface ClientOptions {
  /** An access token, or what gives one; a token that expires wants a function. */
  readonly token?: string | TokenProvider;
  /**
   * Names the installation; part of the key under which retransmissions are recognised. Random by
   * default; to be kept by those who keep an outbox.
   */
  readonly clientId?: string;
  /**
   * In order of preference; WebTransport and WebSocket by default, of which browsers get what works in
   * them. Behind them there may be `http()` of `@sterna/client/http`.
   */
  readonly transports?: readonly (Exclude<TransportName, "http"> | Fallback)[];
  readonly outbox?: OutboxOptions;
  /** Milliseconds that a command waits for its answer; 10000 by default: a core that dies is replaced in less. */
  readonly commandTimeout?: number;
  /** Follow the life of the page (network, visibility, freezing); true by default, where there is one. */
  readonly page?: boolean;
  /** What the device is connected through, for operators to see; by default the browser is asked. */
  readonly network?: Network;
  /** Named in the logs of nodes. */
  readonly userAgent?: string;
  /** The WebSocket to use; the platform's by default. See `@sterna/client/node`. */
  readonly webSocket?: WebSocketConstructor | undefined;
  /** The WebTransport to use; the platform's by default, where it is known to work. */
  readonly webTransport?: WebTransportConstructor | undefined;
  /** SHA-256 of the certificates that WebTransport accepts beside those of authorities. */
  readonly certificateHashes?: readonly Uint8Array[];
  /** Ways to an edge, in place of all the above. @internal */
  readonly dials?: ReadonlyMap<TransportName, Dial>;
}

/** Milliseconds that a command waits for its answer: more than it takes to replace a core that dies. */
export const COMMAND_TIMEOUT = 10000;

/** Events of a subscription that wait for the application. */
export const RECEIVE_QUEUE_EVENTS = 1024;
