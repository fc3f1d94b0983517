// One channel as it is being received: where it stands, what may be delivered, when to ask the server for
// what is missing. Pure. A publication is delivered when it follows the own position directly, dropped
// when it does not lie above it (I13), and otherwise waits, bounded, while the difference is fetched (I5).
// What answers change is in answer.ts, pushes are in pushes.ts, classes of activity in activity.ts.

import type { Init } from "../../codec/message.js";
import type { Statistics, SubscriptionEvent } from "../../events.js";
import { ROOM_TO_GO_ON } from "../../mailbox.js";
import type { Activity, Position, SubscribeOptions } from "../../options.js";
import { ACTIVITY, type Subscribe } from "../../wire/schema.js";
import { Backoff } from "../backoff.js";
import { NEVER } from "../never.js";
import { lookBehind } from "./activity.js";
import { Waiting } from "./waiting.js";

/**
 * - `wanted`: to be asked for, not before `at`.
 * - `asking`: the answer is waited for until `at`.
 * - `live`: pushes follow.
 * - `stalled`: the reader has no room; pushes are left to the server until it has.
 */
export type Phase = "wanted" | "asking" | "live" | "stalled";

/**
 * What the present question to the server is about: a new subscription or connection (`attach`), a `hole`
 * on a living connection, or a `pause`: the reader had no room, or did not want what there was.
 */
export type Repair = "attach" | "hole" | "pause" | "none";

/** What the machine delivers, and how many more publications the reader has room for. */
export interface Batch {
  room: number;
  readonly events: SubscriptionEvent[];
}

/** Of the statistics, what machines count. */
export type Counts = Pick<
  Statistics,
  "duplicatesDropped" | "gapsRecovered" | "publicationsReceived"
>;

export const EARLIEST: Position = { epoch: 0, offset: 0 };

export const isEarliest = ({ epoch, offset }: Position): boolean => epoch === 0 && offset === 0;

/** A newer epoch lies above every offset of an older one. */
export function isAbove(a: Position, b: Position): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.offset > b.offset);
}

export const higher = (a: Position, b: Position): Position => (isAbove(b, a) ? b : a);

export class Machine {
  /** What has been delivered. `undefined` until the server has said where "from now on" is. */
  position: Position | undefined;
  phase: Phase = "wanted";
  /** What `phase` says: not before, or not after. */
  at = 0;
  repair: Repair = "attach";
  /** Since the attachment nothing is known to be lost. */
  isWhole = true;
  /** Publications that came late, into a hole. */
  late = 0;
  /** The highest position heard of. */
  seen = EARLIEST;
  /** Pushes above a hole, until the hole is closed. */
  readonly waiting = new Waiting();
  activity: Activity;
  /** The class that the last question named, and the one that the node was told. */
  asked: Activity;
  told: Activity;
  /**
   * A word of its own about the class, at most one of which is on its way: `outdated`, since a question has
   * said it again.
   */
  saying: "nothing" | "word" | "outdated" = "nothing";
  /** What the node was told before that word. */
  toldBefore: Activity;
  /** The node has refused the last word for the moment. */
  sayNotBefore = 0;
  /** What was last shown of where the channel ends. */
  shown = EARLIEST;
  /** Questions in a row that nobody has answered. */
  readonly unanswered = new Backoff();

  /** An answer is waited for as long as `patience`, then the question is asked anew. */
  constructor(
    readonly channel: string,
    readonly options: SubscribeOptions,
    readonly patience: number,
    readonly counts: Counts,
  ) {
    const { from = "latest", activity = "active" } = options;
    if (from === "earliest") this.position = EARLIEST;
    else if (from !== "latest") this.position = { epoch: from.epoch, offset: from.offset };
    this.activity = this.asked = this.told = this.toldBefore = activity;
  }

  /** The question to send now, if one is due; the caller sends it. */
  pollAsk(now: number, room: number): Init<Subscribe> | undefined {
    const isDue =
      (this.phase === "wanted" && this.at <= now && room > 0) ||
      (this.phase === "stalled" && room >= ROOM_TO_GO_ON);
    if (!isDue) return undefined;
    const question = this.question(room);
    this.onAsked(now);
    return question;
  }

  /** The question, whatever the phase; for the Hello of a connection. */
  question(room: number): Init<Subscribe> {
    this.asked = this.activity;
    const { order, presence, receipts } = this.options;
    return {
      channel: this.channel,
      since: this.position,
      order: order === "newest" ? 1 : 0,
      presence,
      receipts,
      pagePublications: Math.max(room, 1),
      activity: ACTIVITY.indexOf(this.activity),
    };
  }

  /** The question was sent. */
  onAsked(now: number): void {
    this.phase = "asking";
    this.at = now + this.patience;
    this.told = this.asked;
    if (this.saying === "word") this.saying = "outdated";
  }

  /** The question is to be asked, not before `at`. */
  want(at = 0): void {
    this.phase = "wanted";
    this.at = at;
  }

  /**
   * Gives up an answer that is overdue: the question is asked again, ever more seldom, so that it leaves
   * its place to others.
   */
  handleTimeout(now: number, chance: number): void {
    if (this.answerDeadline() <= now) this.want(now + this.unanswered.onFailure(chance));
  }

  /** Whether a question is to be sent, as soon as time and room allow. */
  get waitsToAsk(): boolean {
    return this.phase === "wanted" || this.phase === "stalled";
  }

  /** Whether nothing that was asked has been answered yet. */
  get isUnanswered(): boolean {
    return this.phase === "wanted" || this.phase === "asking";
  }

  /** When `handleTimeout` gives up an answer. */
  answerDeadline(): number {
    return this.phase === "asking" ? this.at : NEVER;
  }

  /** The connection is gone, or another one takes over: everything is asked for anew. */
  handleDetached(): void {
    this.want();
    this.unanswered.reset();
    this.saying = "nothing";
    this.sayNotBefore = 0;
    this.forgetWaiting();
    if (this.repair !== "attach") this.isWhole = true;
    this.repair = "attach";
  }

  /** Pushes of the present connection were dropped before they came here. */
  handlePushesLost(): void {
    if (this.phase === "asking") this.want();
    else if (this.phase === "live" && this.activity !== "background") this.startRepair();
  }

  /** The server has stopped pushing this channel, or says where it ends. */
  handleHead(head: Position): void {
    this.seen = higher(this.seen, head);
    lookBehind(this);
  }

  /** A named hole: the server pushes no more until it is asked, whether or not we are behind. */
  handleGap(upto: Position): void {
    this.handleHead(upto);
    if (this.phase === "live" && this.activity !== "background") this.startRepair();
  }

  startRepair(): void {
    this.want();
    if (this.repair !== "none") return;
    this.repair = "hole";
    this.late = 0;
  }

  stall(): void {
    this.phase = "stalled";
    this.forgetWaiting();
    if (this.repair === "none") this.repair = "pause";
  }

  forgetWaiting(): void {
    this.waiting.clear();
    this.seen = EARLIEST;
  }
}
