// A channel that is being left: its Unsubscribe until the server has answered it. Pure.

import { Backoff } from "./backoff.js";
import { NEVER } from "./never.js";

export class Leaving {
  /** When the Unsubscribe is to be sent; `Infinity` once it is on its way. */
  due = 0;
  /**
   * The first Unsubscribe of this departure. Its answer, or that of any later one, says that the channel
   * is left; an answer to an earlier departure says nothing.
   */
  #firstId: number | undefined;
  readonly #unanswered = new Backoff();

  onSent(id: number): void {
    this.due = NEVER;
    this.#firstId ??= id;
  }

  /** Nobody answered: to be sent again, ever more seldom. */
  onUnanswered(now: number, chance: number): void {
    this.due = now + this.#unanswered.onFailure(chance);
  }

  /** Whether the answer to `id` says that the channel is left. */
  endsWith(id: number): boolean {
    return this.#firstId !== undefined && id >= this.#firstId;
  }
}
