// Asking again and again while somebody looks: pauses with the tab, slows down while nobody answers.
import { Failure } from "./api.js";

/** Longest pause between two attempts at a node that does not answer, in milliseconds. */
const SLOWEST = 15_000;

/** When a node that does not know a question is asked again, in milliseconds: it may be a newer one by then. */
const NEWER = 30_000;

/** One question, asked until `stop`. */
export class Poll<T> {
  #stopping = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isAsking = false;
  #failed = 0;
  #isKnown = true;

  constructor(
    readonly ask: (signal: AbortSignal) => Promise<T>,
    /** In milliseconds. */
    readonly every: number,
    readonly hear: (answer: T) => void,
    readonly fail: (failure: Failure) => void,
  ) {
    document.addEventListener("visibilitychange", () => document.hidden || this.now(), {
      signal: this.#stopping.signal,
    });
    addEventListener("online", () => this.now(), { signal: this.#stopping.signal });
    this.now();
  }

  /** Does not wait for its time. */
  now(): void {
    if (this.#isAsking || this.#stopping.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#isAsking = true;
    this.#once().finally(() => {
      this.#isAsking = false;
      if (this.#stopping.signal.aborted) return;
      this.#timer = setTimeout(() => document.hidden || this.now(), this.#pause());
    });
  }

  stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#timer);
  }

  async #once(): Promise<void> {
    const { signal } = this.#stopping;
    try {
      const answer = await this.ask(signal);
      this.#failed = 0;
      this.#isKnown = true;
      if (!signal.aborted) this.hear(answer);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Failure)) throw error;
      this.#failed = error.trouble === "unreachable" ? this.#failed + 1 : 0;
      this.#isKnown = error.trouble !== "unknown";
      this.fail(error);
    }
  }

  #pause(): number {
    if (!this.#isKnown) return NEWER;
    if (this.#failed === 0) return this.every;
    const longest = Math.min(SLOWEST, 1000 * 2 ** Math.min(this.#failed - 1, 4));
    // Pages that lost a node together do not come back together.
    return longest * (0.5 + Math.random() / 2);
  }
}
