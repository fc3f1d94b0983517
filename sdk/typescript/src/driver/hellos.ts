// Hellos that nobody has answered. Each may still reach a node, which then moves the session to a
// connection that is given up already and closes the living one as superseded. That is our own doing, and
// no reason to stop as when another client has taken the session. Pure.
import type { Link } from "../transport/link.js";

export class OpenHellos {
  readonly #said = new Map<Link, number>();

  onSaid(link: Link, now: number): void {
    this.#said.set(link, now);
    for (const [open, said] of this.#said) {
      if (now - said >= ON_ITS_WAY || this.#said.size > HELLOS) this.#said.delete(open);
    }
  }

  /** Welcomed or refused: what it does to other connections it has done. */
  onAnswered(link: Link): void {
    this.#said.delete(link);
  }

  /** Whether `link` may have been superseded by a Hello of ours on another connection. */
  maySupersede(link: Link, now: number): boolean {
    for (const [open, said] of this.#said)
      if (open !== link && now - said < ON_ITS_WAY) return true;
    return false;
  }
}

/** For this long a Hello may be on its way: retransmissions of a bad path included. */
const ON_ITS_WAY = 60_000;
/** Remembered at most; above, the oldest is forgotten. */
const HELLOS = 32;
