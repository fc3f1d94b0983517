// When to try again. Pure: the caller supplies chance (0 to 1) and time (milliseconds).

/** Full jitter under a doubling ceiling. */
export class Backoff {
  /** Attempts that have failed in a row. */
  failures = 0;

  /** The wait after one more failure. */
  onFailure(chance: number): number {
    return Math.min(BASE * 2 ** this.failures++, CAP) * chance;
  }

  /** The wait after a connection that lived for `lived` has ended: none when it was a good one. */
  onLost(lived: number, chance: number): number {
    if (lived <= GOOD_CONNECTION) return this.onFailure(chance);
    this.reset();
    return 0;
  }

  reset(): void {
    this.failures = 0;
  }
}

/** The wait before retransmission number `retransmission` (from 0): 1 s doubling, 20 % either way. */
export function retransmitAfter(retransmission: number, chance: number): number {
  return RETRANSMIT_BASE * 2 ** retransmission * (0.8 + 0.4 * chance);
}

const BASE = 500;
const CAP = 20_000;
const GOOD_CONNECTION = 10_000;
const RETRANSMIT_BASE = 1000;
