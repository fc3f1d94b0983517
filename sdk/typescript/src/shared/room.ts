// One channel for all tabs that read it: one subscription of the worker's client, which each tab joins at its
// own position. To a tab a room behaves as an edge does: it answers a Subscribe with a page and says whether
// pushes follow, and a tab that is behind is told of a gap and asks again. What it misses comes from the tail
// of the room, or from the node as history. A room keeps nothing for a tab.
import type { Client } from "../client.js";
import { exact } from "../codec/bytes.js";
import { notAnswered, type SternaError } from "../errors.js";
import { type Ephemeral, type Publication, type SubscriptionEvent, uuidBytes } from "../events.js";
import type { Position } from "../options.js";
import type { Subscription } from "../subscription.js";
import {
  ACTIVITY,
  type HistoryPage,
  PRESENCE_STATE,
  PUBLICATION_KIND,
  type Push,
  ROLE,
  type Subscribe,
  type Subscribed,
  type Publication as WirePublication,
} from "../wire/schema.js";
import { toWire } from "./messages.js";
import type { Outlet } from "./outlet.js";
import { Tail } from "./tail.js";

/** How a tab hears the answer to a Subscribe: as a Reply, or as a Push for those of its Hello. */
export type Respond = (answer: Subscribed | SternaError) => void;

/** One tab's share of the room. */
interface Reader {
  /** Pushes follow. */
  isLive: boolean;
  activity: number;
  readonly presence: boolean;
  readonly receipts: boolean;
  /** An answer that waits until the room knows where it stands. */
  waiting: { readonly asked: Subscribe; readonly respond: Respond } | undefined;
}

export class Room {
  readonly #client: Client;
  readonly #channel: string;
  readonly #onEnd: () => void;
  readonly #readers = new Map<Outlet, Reader>();
  readonly #tail = new Tail();
  #subscription: Subscription | undefined;
  #hasPresence = false;
  #hasReceipts = false;
  #isOver = false;
  #headTimer: ReturnType<typeof setTimeout> | undefined;
  /** What has come so far; `undefined` until the node has said where the channel stands. */
  #position: Position | undefined;

  /** `onEnd`: the node has ended the subscription. */
  constructor(client: Client, channel: string, onEnd: () => void) {
    this.#client = client;
    this.#channel = channel;
    this.#onEnd = onEnd;
  }

  get isEmpty(): boolean {
    return this.#readers.size === 0;
  }

  /** A tab asks for the channel, for the first time or again. */
  subscribe(outlet: Outlet, asked: Subscribe, respond: Respond): void {
    const { activity = 0, presence = false, receipts = false } = asked;
    const reader: Reader = {
      isLive: false,
      activity,
      presence,
      receipts,
      waiting: { asked, respond },
    };
    this.#readers.set(outlet, reader);
    this.#follow();
    if (this.#position) this.#answer(outlet, reader);
  }

  /** A tab leaves, or its link has ended. */
  leave(outlet: Outlet): void {
    this.#readers.delete(outlet);
    if (!this.isEmpty) this.#follow();
  }

  setActivity(outlet: Outlet, activity: number): void {
    const reader = this.#readers.get(outlet);
    if (!reader) return;
    reader.activity = activity;
    this.#follow();
  }

  /** A tab that lagged has room again: it is told what to ask for. */
  onRoom(outlet: Outlet): void {
    const reader = this.#readers.get(outlet);
    if (reader && !reader.isLive && !reader.waiting) this.#tellGap(outlet, reader);
  }

  /** Something that is not stored, published by another tab: nodes do not send it back to its session. */
  passEphemeral(from: Outlet, push: Push): void {
    for (const [outlet] of this.#readers) if (outlet !== from) outlet.push(push);
  }

  /** Nobody is left, or the client has ended. */
  close(): void {
    this.#isOver = true;
    clearTimeout(this.#headTimer);
    this.#readers.clear();
    this.#subscription?.unsubscribe();
  }

  /** Has the node follow as closely, and tell as much, as the tabs want together. */
  #follow(): void {
    const readers = [...this.#readers.values()];
    const activity = ACTIVITY[Math.min(...readers.map((each) => each.activity))] ?? "active";
    const wantsMore =
      (!this.#hasPresence && readers.some(({ presence }) => presence)) ||
      (!this.#hasReceipts && readers.some(({ receipts }) => receipts));
    if (this.#subscription && !wantsMore) return this.#subscription.setActivity(activity);
    this.#hasPresence ||= readers.some(({ presence }) => presence);
    this.#hasReceipts ||= readers.some(({ receipts }) => receipts);
    // What the node tells is said when subscribing: it is done anew, from where this one stands.
    this.#subscription?.unsubscribe();
    const subscription = this.#client.subscribe(this.#channel, {
      from: this.#position ?? "latest",
      presence: this.#hasPresence,
      receipts: this.#hasReceipts,
      activity,
    });
    this.#subscription = subscription;
    for (const type of EVENTS) {
      subscription.on(type, (event) => {
        if (subscription === this.#subscription && !this.#isOver) this.#onEvent(event);
      });
    }
  }

  #onEvent(event: SubscriptionEvent): void {
    switch (event.type) {
      case "publication":
        return this.#onPublication(event);
      case "state":
        if (event.state === "subscribed") this.#onSubscribed(event.position);
        return;
      case "gap":
        return this.#restart({ epoch: event.epoch, offset: event.upto });
      case "epoch": {
        const offset = Math.min(this.#position?.offset ?? event.keepUpto, event.keepUpto);
        return this.#restart({ epoch: event.new, offset });
      }
      case "head":
        return this.#tellHead(event.position);
      case "error":
        return this.#onError(event.error);
      default:
        return this.#onVolatile(event);
    }
  }

  #onSubscribed(position: Position): void {
    if (!this.#position) {
      this.#position = position;
      this.#tail.restart(position);
    }
    for (const [outlet, reader] of this.#readers) if (reader.waiting) this.#answer(outlet, reader);
  }

  /** What follows is not what came before: everybody asks from where he stands. */
  #restart(position: Position): void {
    this.#position = position;
    this.#tail.restart(position);
    for (const [outlet, reader] of this.#readers) {
      if (reader.isLive) this.#tellGap(outlet, reader);
    }
  }

  #onPublication(publication: Publication): void {
    const { epoch, offset } = publication.position;
    const own = this.#position;
    if (!own || epoch > own.epoch || offset > own.offset + MARKERS) {
      this.#restart({ epoch: Math.max(epoch, own?.epoch ?? 0), offset: offset - 1 });
    }
    const from = this.#position as Position;
    // The subscription passes over what marks a new epoch, and yields everything else in order.
    for (let marker = from.offset + 1; marker < offset; marker++) {
      this.#take(markerOf(this.#channel, from.epoch, marker));
    }
    this.#position = { epoch: from.epoch, offset };
    this.#take(wireOf(publication));
  }

  #take(publication: WirePublication): void {
    if (PUBLICATION_KIND[publication.kind] === "redaction") {
      this.#tail.redact(Number(publication.targetOffset));
    }
    this.#tail.add(publication);
    const bytes = publication.payload.length;
    for (const [outlet, reader] of this.#readers) {
      if (!reader.isLive) continue;
      if (ACTIVITY[reader.activity] === "background") {
        this.#headTimer ??= setTimeout(() => this.#tellBackground(), HEAD_AFTER);
      } else if (!outlet.push({ publication }, bytes)) {
        // Its outlet says when there is room.
        reader.isLive = false;
      }
    }
  }

  #tellGap(outlet: Outlet, reader: Reader): void {
    const { epoch, offset } = this.#position as Position;
    const gap = { channel: this.#channel, epoch, afterOffset: 0, uptoOffset: offset };
    reader.isLive = false;
    outlet.push({ gap });
  }

  /** Tabs in the background hear now and then where the channel ends. */
  #tellBackground(): void {
    this.#headTimer = undefined;
    if (this.#position) this.#tellHead(this.#position);
  }

  #tellHead({ epoch, offset }: Position): void {
    const head = { channel: this.#channel, epoch, offset };
    for (const [outlet, { isLive, activity }] of this.#readers) {
      if (isLive && ACTIVITY[activity] === "background") outlet.push({ head });
    }
  }

  /** What is lost when there is no room for it. */
  #onVolatile(event: SubscriptionEvent): void {
    const channel = this.#channel;
    for (const [outlet, reader] of this.#readers) {
      if (event.type === "ephemeral") {
        outlet.push({ ephemeral: ephemeralOf(channel, event) }, event.payload.length);
      } else if (event.type === "receipt" && reader.receipts) {
        const { user, delivered, read } = event;
        outlet.push({ receipt: { channel, user, deliveredOffset: delivered, readOffset: read } });
      } else if (event.type === "presence" && reader.presence) {
        const { user, sessions, since } = event;
        const state = PRESENCE_STATE.indexOf(event.state);
        outlet.push({ presence: { channel, member: { user, state, sessions, sinceMs: since } } });
      } else if (reader.presence && (event.type === "presenceGap" || event.type === "lagged")) {
        outlet.push({ presenceGap: { channel } });
      }
    }
  }

  #onError(error: SternaError): void {
    this.#isOver = true;
    this.#onEnd();
    for (const [outlet, { waiting }] of this.#readers) {
      if (waiting) waiting.respond(error);
      else outlet.push({ unsubscribed: { channel: this.#channel, error: toWire(error) } });
    }
    this.#readers.clear();
  }

  /** Answers what a reader has asked: from the tail where that has it, otherwise from the node. */
  #answer(outlet: Outlet, reader: Reader): void {
    const { waiting } = reader;
    if (!waiting || !this.#position) return;
    const { asked, respond } = waiting;
    const since = asked.since && { ...asked.since, offset: exact(asked.since.offset) };
    const limit = Math.min(asked.pagePublications || PAGE_PUBLICATIONS, PAGE_PUBLICATIONS);
    const known = since ? this.#tail.after(since, limit) : [];
    if (known) {
      const own = since ?? this.#position;
      const offset = exact(known.at(-1)?.offset ?? own.offset);
      this.#reply(reader, respond, { epoch: this.#position.epoch, offset }, known);
      return;
    }
    const backwards = asked.order === 1;
    const before = backwards ? undefined : since;
    const question = { channel: this.#channel, since: before, limit, backwards };
    this.#client.call({ history: question }).then(
      ({ history }) => {
        // Asked again meanwhile, or gone: nobody waits for this.
        if (this.#readers.get(outlet) !== reader || reader.waiting !== waiting) return;
        if (history) this.#replyPage(reader, respond, since as Position, history);
        else respond(notAnswered("history"));
      },
      (error) => {
        // The tab asks again by itself when nobody answers in time.
        if (error.code !== "TIMEOUT" && error.code !== "CLOSED") respond(error);
      },
    );
  }

  #replyPage(reader: Reader, respond: Respond, since: Position, page: HistoryPage): void {
    const { publications, epochChange } = page;
    const head = exact(page.headOffset);
    const [first] = publications;
    const after = Math.min(since.offset, exact(epochChange?.keepUpto ?? since.offset));
    const position = { epoch: page.epoch, offset: exact(publications.at(-1)?.offset ?? head) };
    const isHole = first && exact(first.offset) > after + 1;
    this.#reply(reader, respond, position, publications, {
      ...(epochChange && { epochChange }),
      ...(isHole && {
        gap: {
          channel: this.#channel,
          epoch: page.epoch,
          afterOffset: after,
          uptoOffset: exact(first.offset) - 1,
        },
      }),
    });
  }

  #reply(
    reader: Reader,
    respond: Respond,
    position: Position,
    publications: WirePublication[],
    more: Pick<Subscribed, "gap" | "epochChange"> = {},
  ): void {
    const own = this.#position as Position;
    reader.waiting = undefined;
    // What has come while the page was on its way is asked for once more; it is in the tail by now.
    reader.isLive = position.epoch === own.epoch && position.offset >= own.offset;
    const headOffset = Math.max(position.offset, own.offset);
    const live = reader.isLive;
    respond({ channel: this.#channel, position, publications, live, headOffset, ...more });
  }
}

/** As the wire has it. */
function wireOf(publication: Publication): WirePublication {
  const { channel, position, id, sender, payload, kind, target, member, redacted, messageId } =
    publication;
  return {
    channel,
    ...position,
    id: BigInt(id),
    sender,
    payload,
    serverTsMs: publication.serverTime,
    clientTsMs: publication.clientTime,
    kind: kind === "unknown" ? UNKNOWN_KIND : PUBLICATION_KIND.indexOf(kind),
    targetOffset: target,
    redacted,
    clientMsgId: (messageId && uuidBytes(messageId)) || NOTHING,
    ...(member && {
      member: { user: member.user, role: ROLE.indexOf(member.role ?? "unspecified") },
    }),
  };
}

/** What stands in a log where an epoch begins. */
function markerOf(channel: string, epoch: number, offset: number): WirePublication {
  const kind = PUBLICATION_KIND.indexOf("epoch");
  const rest = { id: 0, sender: "", payload: NOTHING, serverTsMs: 0, clientTsMs: 0 };
  return {
    channel,
    epoch,
    offset,
    kind,
    targetOffset: 0,
    clientMsgId: NOTHING,
    redacted: false,
    ...rest,
  };
}

const ephemeralOf = (channel: string, { key, payload, sender }: Ephemeral) => ({
  channel,
  key,
  payload,
  sender,
});

const EVENTS = [
  "publication",
  "ephemeral",
  "presence",
  "presenceGap",
  "receipt",
  "gap",
  "epoch",
  "head",
  "state",
  "lagged",
  "error",
] as const;

const NOTHING = new Uint8Array();
/** A kind of publication that this version has no name for. */
const UNKNOWN_KIND = 2 ** 31;
/** Epochs that may begin between two publications; more of a distance than that is no row of markers. */
const MARKERS = 16;
/** Milliseconds for which tabs in the background hear of nothing new. */
const HEAD_AFTER = 1000;
/** Publications in one answer. */
const PAGE_PUBLICATIONS = 100;
