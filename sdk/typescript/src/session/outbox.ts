// Publications until the server has answered for them. Pure: it says what to send and is told how that
// went. Per channel the order of publishing is kept; a publication that has to wait holds its channel,
// never the others. With a store, everything is saved before it is sent.

import { disconnected, SternaError, tooLarge } from "../errors.js";
import type { OutboxOptions } from "../options.js";
import type { OutboxChange, StoredPublication } from "../outbox-store.js";
import type { Send } from "../send.js";
import type { Publish } from "../wire/schema.js";
import { retransmitAfter } from "./backoff.js";
import { NEVER } from "./never.js";

type Stage =
  /** Not in the store yet. */
  "unsaved" | "queued" | "inFlight" | "notSent";

interface Item {
  readonly publish: Publish;
  readonly seq: number;
  readonly send: Send;
  stage: Stage;
  retransmissions: number;
  resendAt: number;
  /** The server may have it: it must not be dropped as if it had never left. */
  leftOnce: boolean;
}

interface ChannelQueue {
  /** Sequence numbers of its items, in order: whatever lies below the first is settled. */
  readonly items: Set<number>;
  inFlight: number;
  notSent: number;
  heldUntil: number;
  /**
   * One was refused while others were on their way: those may have been refused as well, so nothing else
   * is sent before all are answered.
   */
  settling: boolean;
}

/** Bounds with all their defaults. */
export type OutboxLimits = Required<Omit<OutboxOptions, "store">>;

export const OUTBOX_LIMITS: OutboxLimits = {
  publications: 256,
  bytes: 1024 * 1024,
  policy: "rejectNew",
  channelWindow: 32,
};

export class Outbox {
  #bytes = 0;
  /** Those that are on their way: the few that time matters to. */
  readonly #inFlight = new Set<Item>();
  /** By sequence number, in order: numbers only go up. */
  readonly #items = new Map<number, Item>();
  readonly #channels = new Map<string, ChannelQueue>();
  /** For the store, if there is one. At most a few per item. */
  readonly #changes: OutboxChange[] | undefined;

  /**
   * `nextSeq` has to lie above every number that this client id has used before. `isStored`: there is a
   * store, which is told of every change.
   */
  constructor(
    readonly limits: OutboxLimits,
    public nextSeq: number,
    isStored: boolean,
  ) {
    if (isStored) this.#changes = [];
  }

  get size(): number {
    return this.#items.size;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Takes back what an earlier process has left in the store, whatever the bounds are now. */
  restore({ publish, attempted }: StoredPublication, send: Send): void {
    this.nextSeq = Math.max(this.nextSeq, Number(publish.clientSeq) + 1);
    this.#insert(publish, send, "queued", attempted);
  }

  /** What the store has to be told, in this order. */
  takeChanges(): OutboxChange[] {
    return this.#changes?.splice(0) ?? [];
  }

  /** The store has these: they may be sent. */
  handleSaved(seqs: readonly number[]): void {
    for (const seq of seqs) this.#restage(seq, "queued");
  }

  /** The store has refused these: they were not sent. */
  handleNotSaved(seqs: readonly number[], error: SternaError): void {
    for (const seq of seqs) this.#take(seq)?.set({ name: "failed", error });
  }

  /** Takes a publication and numbers it, as far as the bounds and the policy allow. */
  push(publish: Publish, send: Send, online: boolean): void {
    const error = this.#refusal(publish.payload.length, online);
    if (error) {
      send.set({ name: "failed", error });
      return;
    }
    const numbered = { ...publish, clientSeq: this.nextSeq++, ordered: true };
    this.#changes?.push({ insert: numbered });
    this.#insert(numbered, send, this.#changes ? "unsaved" : "queued", false);
  }

  /** What may be sent now, at most `budget` publications, oldest first. */
  pollSend(now: number, chance: number, budget: number): Publish[] {
    const chosen: Publish[] = [];
    for (const queue of this.#channels.values()) if (queue.heldUntil <= now) queue.heldUntil = 0;
    const blocked = new Set<ChannelQueue>();
    for (const item of this.#items.values()) {
      if (chosen.length >= budget || blocked.size === this.#channels.size) break;
      if (item.stage !== "queued") continue;
      const queue = this.#queue(item);
      const isFree = !queue.notSent && !queue.heldUntil && !queue.settling;
      if (!isFree || queue.inFlight >= Math.max(this.limits.channelWindow, 1)) {
        blocked.add(queue);
        continue;
      }
      item.stage = "inFlight";
      item.retransmissions = 0;
      queue.inFlight++;
      this.#inFlight.add(item);
      chosen.push(this.#onSent(item, now, chance));
    }
    return chosen;
  }

  /**
   * Sent but not answered for long enough: what to send again. What was sent often enough is given up
   * until the next connection.
   */
  pollResend(now: number, chance: number): Publish[] {
    const again = [];
    for (const item of this.#inFlight) {
      if (item.resendAt > now) continue;
      if (item.retransmissions < RETRANSMISSIONS) {
        item.retransmissions++;
        again.push(this.#onSent(item, now, chance));
      } else {
        this.#restage(item.seq, "notSent");
        item.send.set({ name: "notSent" });
      }
    }
    return again;
  }

  /** The server has answered for good: the item leaves, the store included. */
  remove(seq: number): Send | undefined {
    const send = this.#take(seq);
    if (send) this.#changes?.push({ remove: seq });
    return send;
  }

  /**
   * The server wants it later: it and all later ones of its channel wait until then, and until the server
   * has answered for everything of the channel that is on its way.
   */
  hold(seq: number, until: number): void {
    this.#restage(seq, "queued");
    const item = this.#items.get(seq);
    if (!item) return;
    const queue = this.#queue(item);
    queue.heldUntil = Math.max(queue.heldUntil, until);
    queue.settling = queue.inFlight > 0;
  }

  /** The connection is gone: everything unanswered is sent again on the next one, in order. */
  handleDisconnected(): void {
    for (const seq of this.#seqs((item) => item.stage !== "unsaved")) this.#restage(seq, "queued");
  }

  /** Empties the outbox, but not the store; for the end of the client. */
  failAll(error: SternaError): void {
    for (const seq of this.#seqs(() => true)) this.#take(seq)?.set({ name: "failed", error });
  }

  /** When `pollSend` or `pollResend` may have something new by time alone. */
  deadline(): number {
    let deadline = NEVER;
    for (const { resendAt } of this.#inFlight) deadline = Math.min(deadline, resendAt);
    for (const queue of this.#channels.values()) {
      if (queue.heldUntil) deadline = Math.min(deadline, queue.heldUntil);
    }
    return deadline;
  }

  #refusal(size: number, online: boolean): SternaError | undefined {
    const { policy, bytes } = this.limits;
    if (policy === "failWhenOffline" && !online) {
      return disconnected("policy of the outbox");
    }
    if (size > bytes) {
      return tooLarge(size, bytes);
    }
    const full = () => new SternaError("QUEUE_FULL", "the outbox is full");
    if (this.#fits(size)) return undefined;
    const victim = policy === "dropOldest" && this.#victim(size);
    if (!victim) return full();
    this.remove(victim.seq)?.set({ name: "failed", error: full() });
    return undefined;
  }

  #fits(size: number): boolean {
    return this.size < this.limits.publications && this.#bytes + size <= this.limits.bytes;
  }

  /** One victim has to be enough, so that one publication displaces one. */
  #victim(size: number): Item | undefined {
    for (const item of this.#items.values()) {
      const bytesAfter = this.#bytes - item.publish.payload.length + size;
      if (item.stage === "queued" && !item.leftOnce && bytesAfter <= this.limits.bytes) return item;
    }
    return undefined;
  }

  #insert(publish: Publish, send: Send, stage: Stage, leftOnce: boolean): void {
    const seq = Number(publish.clientSeq);
    this.#bytes += publish.payload.length;
    const queue = this.#channels.get(publish.channel) ?? newQueue();
    queue.items.add(seq);
    this.#channels.set(publish.channel, queue);
    const item = { publish, seq, send, stage, retransmissions: 0, resendAt: 0, leftOnce };
    this.#items.set(seq, item);
  }

  #take(seq: number): Send | undefined {
    this.#restage(seq, "queued");
    const item = this.#items.get(seq);
    if (!item) return undefined;
    this.#items.delete(seq);
    this.#bytes -= item.publish.payload.length;
    const queue = this.#queue(item);
    queue.items.delete(seq);
    if (queue.items.size === 0) this.#channels.delete(item.publish.channel);
    return item.send;
  }

  #onSent(item: Item, now: number, chance: number): Publish {
    item.resendAt = now + retransmitAfter(item.retransmissions, chance);
    if (!item.leftOnce) this.#changes?.push({ attempted: item.seq });
    item.leftOnce = true;
    item.send.set({ name: "sent" });
    const [settledBelow = item.seq] = this.#queue(item).items;
    return { ...item.publish, settledBelow };
  }

  #restage(seq: number, stage: "queued" | "notSent"): void {
    const item = this.#items.get(seq);
    if (!item) return;
    const queue = this.#queue(item);
    if (item.stage === "notSent") queue.notSent--;
    if (item.stage === "inFlight") {
      queue.inFlight--;
      this.#inFlight.delete(item);
      queue.settling &&= queue.inFlight > 0;
    }
    if (stage === "notSent") queue.notSent++;
    item.stage = stage;
  }

  #queue(item: Item): ChannelQueue {
    return this.#channels.get(item.publish.channel) as ChannelQueue;
  }

  #seqs(which: (item: Item) => boolean): number[] {
    return [...this.#items.values()].filter(which).map((item) => item.seq);
  }
}

const newQueue = (): ChannelQueue => ({
  items: new Set(),
  inFlight: 0,
  notSent: 0,
  heldUntil: 0,
  settling: false,
});

/** At most 3, then "not sent" is shown. */
const RETRANSMISSIONS = 3;
