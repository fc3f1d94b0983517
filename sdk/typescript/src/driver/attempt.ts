// One attempt at a connection: candidates of all transports race to be established, then one after the
// other may say Hello, so that two Hellos of one session never cross. The winner is the first WELCOME. Pure,
// but for closing what has lost.

import type { Greeting } from "../session/greeting.js";
import { NEVER } from "../session/never.js";
import type { Plan } from "../session/race.js";
import type { Link, LinkEnd, TransportName } from "../transport/link.js";
import type { Target } from "../transport/target.js";
import type { Frame } from "../wire/schema.js";

/**
 * Why there is an attempt: there is no connection; the active one is about to end or seems dead; the active
 * one is a WebSocket, and WebTransport may work by now.
 */
export type Purpose = "connect" | "replace" | "upgrade";

/** A candidate whose Hello was sent. */
export class Greeted {
  /** Pushes on lanes may overtake the Welcome. */
  readonly early: Frame[] = [];
  /** There were more of them than are kept. */
  lostEarly = false;
  readonly deadline: number;

  constructor(
    readonly link: Link,
    readonly greeting: Greeting,
    now: number,
  ) {
    this.deadline = now + HELLO_TIMEOUT;
  }

  keepEarly(frame: Frame): void {
    if (this.early.length < EARLY_FRAMES) this.early.push(frame);
    else this.lostEarly = true;
  }
}

export class Attempt {
  /** Not started yet, and when they are to be. */
  planned: { transport: TransportName; at: number }[];
  /** Started, not established; and when they were started. */
  readonly connecting = new Map<Link, number>();
  /** Established, waiting for their turn to say Hello. */
  readonly ready = new Set<Link>();
  greeted: Greeted | undefined;
  readonly giveUpAt: number;
  lastEnd: LinkEnd | undefined;

  constructor(
    readonly target: Target,
    public purpose: Purpose,
    plan: Plan,
    now: number,
  ) {
    this.planned = plan.map(([transport, after]) => ({ transport, at: now + after }));
    this.giveUpAt = now + ATTEMPT_TIMEOUT;
  }

  /** The transports whose time has come. */
  takeDue(now: number): TransportName[] {
    const due = this.planned.filter(({ at }) => at <= now);
    this.planned = this.planned.filter(({ at }) => at > now);
    return due.map(({ transport }) => transport);
  }

  /** A candidate failed: nobody waits for its head start any more. */
  hurry(now: number): void {
    for (const each of this.planned) each.at = now;
  }

  /** A Hello is overdue: nobody waits for a head start any more. */
  hurryIfOverdue(now: number): void {
    if (this.greeted && this.greeted.deadline <= now) this.hurry(now);
  }

  /**
   * A Hello that nobody answers makes room for a candidate that waits for its turn. Without one it waits as
   * long as the attempt: a node that is late because many come at once would only get more to do by another
   * Hello, for which it would need as long.
   */
  takeUnanswered(now: number): Greeted | undefined {
    const { greeted } = this;
    if (!greeted || this.ready.size === 0 || greeted.deadline > now) return undefined;
    this.greeted = undefined;
    return greeted;
  }

  /** Forgets a candidate that has ended. False: it is none of this attempt. */
  onEnded(link: Link, end: LinkEnd): boolean {
    const isGreeted = this.greeted?.link === link;
    if (isGreeted) this.greeted = undefined;
    const isOurs = this.connecting.delete(link) || this.ready.delete(link) || isGreeted;
    if (isOurs) this.lastEnd = end;
    return isOurs;
  }

  /** The candidate that may say Hello next: WebTransport before WebSocket where both are ready. */
  takeReady(): Link | undefined {
    const [first, second] = this.ready;
    const best = second?.transport === "webtransport" ? second : first;
    if (best) this.ready.delete(best);
    return best;
  }

  isExhausted(now: number): boolean {
    const { planned, connecting, ready, greeted } = this;
    const nothingLeft = !planned.length && !connecting.size && !ready.size && !greeted;
    return nothingLeft || now >= this.giveUpAt;
  }

  /** After a WebSocket has won: what is left to become WebTransport goes on. False: nothing is. */
  becomeUpgrade(): boolean {
    this.planned = [];
    this.purpose = "upgrade";
    for (const link of [...this.connecting.keys(), ...this.ready]) {
      if (link.transport !== "websocket") continue;
      this.connecting.delete(link);
      this.ready.delete(link);
      link.close();
    }
    return this.connecting.size > 0 || this.ready.size > 0;
  }

  /** Closes every candidate. */
  close(): void {
    for (const link of [...this.connecting.keys(), ...this.ready]) link.close();
    this.greeted?.link.close();
  }

  deadline(): number {
    const isAwaited = this.ready.size > 0 || this.planned.length > 0;
    const hello = (isAwaited && this.greeted?.deadline) || NEVER;
    return Math.min(this.giveUpAt, hello, ...this.planned.map(({ at }) => at));
  }
}

/** With a little for the Hello at its end. */
const ATTEMPT_TIMEOUT = 12_000;
/** A server answers a Hello at once; a candidate that does not lets another one try that is ready. */
const HELLO_TIMEOUT = 3000;
/** Pushes kept until the Welcome; after more, the subscriptions are asked for anew. */
export const EARLY_FRAMES = 64;
