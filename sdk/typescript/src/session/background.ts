// Whether the application is in the background, and since when that means having no connection. Systems
// suspend what runs there, so a connection is kept for a grace, in case the user comes back at once, and is
// then closed rather than left to die. Pure.
import { NEVER } from "./never.js";

export class Background {
  #phase: "foreground" | "grace" | "asleep" = "foreground";
  #until = NEVER;

  /** The application went into the background; what is there of a connection may stay for the grace. */
  enter(now: number, grace: number): void {
    if (this.#phase === "asleep") return;
    this.#phase = "grace";
    this.#until = Math.min(this.#until, now + grace);
  }

  /** The application is back. True when it was away. */
  leave(): boolean {
    const wasAway = this.#phase !== "foreground";
    this.#phase = "foreground";
    this.#until = NEVER;
    return wasAway;
  }

  /**
   * True once, when it is time to sleep: the grace is over, or there is nothing to keep (`isIdle`: neither
   * a connection nor one on its way).
   */
  pollSleep(now: number, isIdle: boolean): boolean {
    if (this.#phase !== "grace" || !(isIdle || this.#until <= now)) return false;
    this.#phase = "asleep";
    this.#until = NEVER;
    return true;
  }

  /** When `pollSleep` becomes true by time alone. */
  deadline(): number {
    return this.#until;
  }

  /** Connections are made in the foreground only. */
  get mayAttempt(): boolean {
    return this.#phase === "foreground";
  }

  get isAsleep(): boolean {
    return this.#phase === "asleep";
  }
}
