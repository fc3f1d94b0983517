// Notices a path that has died: pings when silent, probes, makes a second connection, gives up. A page
// cannot move a connection to a fresh socket, so there is no step for that. Pure.

/** What to do about silence. */
export type Action =
  | "ping"
  /** Make another connection beside this one. */
  | "race"
  /** Give this connection up. */
  | "dead";

export class Liveness {
  readonly #heartbeat: number;
  #lastSent: number;
  /** Since when an answer is owed; restarted by everything that is received. */
  #owedSince: number | undefined;
  #stage: "calm" | "alarmed" | "racing" = "calm";
  #since = 0;

  constructor(heartbeat: number, now: number) {
    this.#heartbeat = Math.max(heartbeat, LEAST_HEARTBEAT);
    this.#lastSent = now;
  }

  /** Something was sent; `owed`: the server has to answer. */
  onSent(now: number, owed: boolean): void {
    this.#lastSent = now;
    if (owed) this.#owedSince ??= now;
  }

  /** Something arrived; `owed`: more answers are outstanding. */
  onReceived(now: number, owed: boolean): void {
    this.#owedSince = owed ? now : undefined;
    this.#stage = "calm";
  }

  /**
   * The next action that is due, if any; to be called until there is none. A ping counts as done when
   * `onSent` is called for it.
   */
  poll(now: number): Action | undefined {
    if (now < this.deadline()) return undefined;
    if (this.#owedSince === undefined) return "ping";
    if (now >= this.#owedSince + DEAD_AFTER) return "dead";
    const isFirst = this.#stage === "calm";
    this.#stage = isFirst ? "alarmed" : "racing";
    this.#since = now;
    return isFirst ? "ping" : "race";
  }

  /** When to call `poll` next. */
  deadline(): number {
    const owed = this.#owedSince;
    if (owed === undefined) return this.#lastSent + this.#heartbeat;
    const steps = {
      calm: owed + SILENCE,
      alarmed: this.#since + SILENCE,
      racing: this.#since + RACE_AGAIN,
    };
    return Math.min(steps[this.#stage], owed + DEAD_AFTER);
  }
}

/** The command timeout; then a probe gets as long again. */
const SILENCE = 5000;
const RACE_AGAIN = 8000;
const DEAD_AFTER = 30_000;
/** A server cannot make its clients ping in a tight loop. */
const LEAST_HEARTBEAT = 100;
