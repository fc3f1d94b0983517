// What the application is told: states of the client, events of a subscription, what became of a
// publication.

import { ascii, exact } from "./codec/bytes.js";
import type { SternaError } from "./errors.js";
import type { Position } from "./options.js";
import type { TransportName } from "./transport/link.js";
import {
  type DURABILITY,
  PRESENCE_STATE,
  PUBLICATION_KIND,
  ROLE,
  type Ephemeral as WireEphemeral,
  type PresenceMember as WireMember,
  type Publication as WirePublication,
} from "./wire/schema.js";

/** The client as a whole. */
export type ClientState =
  /** Neither connected nor trying; `error` says why, when it was not the application that wanted it. */
  | { readonly name: "disconnected"; readonly error?: SternaError | undefined }
  /** An attempt runs, or the next one is waited for. `attempt` counts from 1. */
  | {
      readonly name: "connecting";
      readonly attempt: number;
      readonly lastError?: SternaError | undefined;
    }
  /** There is a session on a living connection. */
  | ({ readonly name: "connected" } & Connected)
  /** A connection is wished for, and there is none because the page is frozen or in the background. */
  | { readonly name: "background" }
  /** After `dispose`. Final. */
  | { readonly name: "closed" };

/** The session as the server described it. */
export interface Connected {
  /** Names the session in the logs of nodes. */
  readonly sessionId: string;
  /** What carries the session now. */
  readonly transport: TransportName;
  /** The node that holds the connection. */
  readonly node: string;
  /** Whom the access token names. */
  readonly user: string;
  /** The server continued the earlier session: nobody saw it leave. */
  readonly resumed: boolean;
  /** What an acknowledgement of this cluster promises. */
  readonly durability: (typeof DURABILITY)[number];
  /** The address of this client as the node sees it. */
  readonly observedAddress: string;
}

const lenient = new TextDecoder();

/** Content as it was published, with the two ways in which most read it. */
export class Payload {
  #bytes: Uint8Array;
  #isOwn = false;

  constructor(payload: Uint8Array) {
    this.#bytes = payload;
  }

  /** What was published, untouched. */
  get payload(): Uint8Array {
    // What was received may share its buffer until somebody wants more than its text.
    if (!this.#isOwn) {
      this.#isOwn = true;
      this.#bytes = this.#bytes.slice();
    }
    return this.#bytes;
  }

  /** The payload as UTF-8; what is not becomes replacement characters. */
  text(): string {
    return ascii(this.#bytes) ?? lenient.decode(this.#bytes);
  }

  /** The payload as JSON. Throws a `SyntaxError` where it is none; `T` is not checked. */
  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }
}

/** The next publication of the channel: each once, in order of their offsets. */
export class Publication extends Payload {
  readonly type = "publication";
  /** Where it was published. */
  readonly channel: string;
  /** Its place in the channel. */
  readonly position: Position;
  /** Unique in the cluster, in decimal: a `number` could not hold it. */
  readonly id: string;
  /** The user who published it. */
  readonly sender: string;
  /** When it was stored, in milliseconds since 1970. Never decreases along a channel. */
  readonly serverTime: number;
  /** When it was published, by the clock of the sender. */
  readonly clientTime: number;
  /** A message, or something about an earlier one. */
  readonly kind: (typeof PUBLICATION_KIND)[number] | "unknown";
  /** The offset that an edit, a recall, a reaction or a redaction is about. Of a redaction 0: all before it. */
  readonly target: number;
  /** For kind `membership`: who has this role from here on; without one, is no member any more. */
  readonly member: { readonly user: string; readonly role?: Role } | undefined;
  /**
   * The payload was taken away after it had been stored, and is empty. Whoever has it from before learns of
   * that by a publication of kind `redaction`.
   */
  readonly redacted: boolean;

  readonly #messageId: Uint8Array;

  /** @internal */
  constructor(wire: WirePublication) {
    super(wire.payload);
    this.channel = wire.channel;
    this.position = { epoch: wire.epoch, offset: exact(wire.offset) };
    this.id = String(wire.id);
    this.sender = wire.sender;
    this.serverTime = exact(wire.serverTsMs);
    this.clientTime = exact(wire.clientTsMs);
    this.kind = PUBLICATION_KIND[wire.kind] ?? "unknown";
    this.target = exact(wire.targetOffset);
    this.redacted = wire.redacted;
    this.#messageId = wire.clientMsgId;
    const role = wire.member && roleOf(wire.member.role);
    this.member = wire.member && { user: wire.member.user, ...(role && { role }) };
  }

  /** Set by the sender: {@link Send.id} of the sending client. */
  get messageId(): string | undefined {
    // Written out for who asks: it would take longer than reading all the rest.
    return this.#messageId.length === 16 ? uuidText(this.#messageId) : undefined;
  }
}

/** What a member may do in a channel. */
export type Role = Exclude<(typeof ROLE)[number], "unspecified">;

export function roleOf(number: number): Role | undefined {
  const role = ROLE[number];
  return role === "unspecified" ? undefined : role;
}

/** Not stored, no position: typing, a cursor, a live location. The newest per sender and key counts. */
export class Ephemeral extends Payload {
  readonly type = "ephemeral";
  readonly key: string;
  readonly sender: string;

  /** @internal */
  constructor(wire: WireEphemeral) {
    super(wire.payload);
    this.key = wire.key;
    this.sender = wire.sender;
  }
}

/** A user who is in a channel. */
export interface Present {
  readonly user: string;
  /** `roaming`: between networks; `detached`: away, can come back; `offline`: gone. */
  readonly state: (typeof PRESENCE_STATE)[number];
  /** Of this user, in this channel. */
  readonly sessions: number;
  /** In milliseconds since 1970. */
  readonly since: number;
}

export function presentOf(wire: WireMember): Present {
  const state = PRESENCE_STATE[wire.state] ?? "offline";
  return { user: wire.user, state, sessions: wire.sessions, since: exact(wire.sinceMs) };
}

/** What a subscription yields. */
export type SubscriptionEvent =
  | Publication
  | Ephemeral
  /** Somebody came or went; only with `presence: true`. */
  | ({ readonly type: "presence" } & Present)
  /**
   * Joins or leaves were lost, or the session is another one: whoever keeps a list of who is present asks for
   * it again. Only with `presence: true`.
   */
  | { readonly type: "presenceGap" }
  /** Another member's cursor moved; only with `receipts: true`. */
  | {
      readonly type: "receipt";
      readonly user: string;
      readonly delivered: number;
      readonly read: number;
    }
  | Gap
  /** A hole was found and closed; so many `publications` came late but in order. */
  | { readonly type: "recovered"; readonly publications: number }
  /** The log was replaced: forget what lies above `keepUpto` of the old epoch. */
  | {
      readonly type: "epoch";
      readonly old: number;
      readonly new: number;
      readonly keepUpto: number;
    }
  /** Where the channel ends, in the background: for a badge. Only the newest waits for the reader. */
  | { readonly type: "head"; readonly position: Position }
  | ({ readonly type: "state" } & SubscriptionState)
  /** Events without a position (presence, its gaps, receipts, ephemerals) were dropped; publications never are. */
  | { readonly type: "lagged"; readonly missed: number }
  /** The subscription has ended and yields nothing more. */
  | { readonly type: "error"; readonly error: SternaError };

/**
 * Publications with `after < offset <= upto` will not come: the channel keeps them no longer, or
 * `order: "newest"` left them to `history`.
 */
export interface Gap {
  readonly type: "gap";
  readonly epoch: number;
  readonly after: number;
  readonly upto: number;
}

/** Life of a subscription. */
export type SubscriptionState =
  /** Asked for, or waiting for a connection. */
  | { readonly state: "subscribing" }
  /** Live: publications arrive as they are stored. */
  | {
      readonly state: "subscribed";
      readonly position: Position;
      /** There was a position to go on from. */
      readonly wasRecovering: boolean;
      /** There was one, and nothing after it is missing. */
      readonly recovered: boolean;
    };

/** What the answer to a publication proves: it is stored. */
export interface Stored {
  readonly position: Position;
  /** Its id in the cluster, in decimal. */
  readonly id: string;
  /** An earlier attempt had stored it. */
  readonly duplicate: boolean;
  /** In milliseconds since 1970. */
  readonly serverTime: number;
}

/** Life of a publication in the outbox. */
export type SendState =
  /** Waits for a connection, for its turn, or for the outbox store. */
  | { readonly name: "queued" }
  /** On its way; not answered yet. */
  | { readonly name: "sent" }
  /** No answer to any attempt on this connection; tried again after the next reconnect. */
  | { readonly name: "notSent" }
  /** Stored. Final. */
  | ({ readonly name: "acked" } & Stored)
  /** Not stored, as far as is known. Final. */
  | { readonly name: "failed"; readonly error: SternaError };

/** Counts since the client was made. */
export interface Statistics {
  /** Of the last ping, in milliseconds. */
  roundTrip: number | undefined;
  /** Sessions that were begun or continued. */
  connects: number;
  /** Connections on which the server continued the session. */
  resumed: number;
  /** Connections made before the old one was left: drains, upgrades, dying paths. */
  handovers: number;
  /** Publications that had arrived before. */
  duplicatesDropped: number;
  /** Holes in a living subscription that were found and filled. */
  gapsRecovered: number;
  /** Publications that were delivered to subscriptions. */
  publicationsReceived: number;
  /** Publications in the outbox now. */
  outboxPublications: number;
}

export const newStatistics = (): Statistics => ({
  roundTrip: undefined,
  connects: 0,
  resumed: 0,
  handovers: 0,
  duplicatesDropped: 0,
  gapsRecovered: 0,
  publicationsReceived: 0,
  outboxPublications: 0,
});

/** A UUID as people write it. */
export function uuidText(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** The bytes of a UUID; `undefined` where the text is none. */
export function uuidBytes(text: string): Uint8Array | undefined {
  const hex = text.replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/i.test(hex)) return undefined;
  return Uint8Array.from(hex.match(/../g) as string[], (pair) => Number.parseInt(pair, 16));
}

/** A UUIDv7 (RFC 9562): in order of their making, unique without asking anybody. */
export function newUuid(now: number): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  for (let at = 0; at < 6; at++) bytes[at] = Math.floor(now / 256 ** (5 - at)) % 256;
  bytes[6] = 0x70 | ((bytes[6] as number) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] as number) & 0x3f);
  return bytes;
}
