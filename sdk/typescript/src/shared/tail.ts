// The newest publications of a channel, for tabs that come a moment later or have fallen behind: what they
// miss costs no question to the node. Bounded; what lies before is history. Pure.
import type { Position } from "../options.js";
import type { Publication } from "../wire/schema.js";

export class Tail {
  #kept: Publication[] = [];
  #bytes = 0;
  /** Everything after this offset is kept. */
  #base = 0;
  #epoch = 0;

  /** What follows `position` is kept from here on; what was kept is forgotten. */
  restart({ epoch, offset }: Position): void {
    this.#kept = [];
    this.#bytes = 0;
    this.#base = offset;
    this.#epoch = epoch;
  }

  /** The next publication of the channel. */
  add(publication: Publication): void {
    this.#kept.push(publication);
    this.#bytes += publication.payload.length;
    while (this.#kept.length > TAIL_PUBLICATIONS || this.#bytes > TAIL_BYTES) {
      const oldest = this.#kept.shift() as Publication;
      this.#bytes -= oldest.payload.length;
      this.#base = Number(oldest.offset);
    }
  }

  /** The publication at an offset has lost its payload; 0: all have. */
  redact(target: number): void {
    this.#kept = this.#kept.map((each) => {
      if (target && Number(each.offset) !== target) return each;
      this.#bytes -= each.payload.length;
      return { ...each, payload: new Uint8Array(), redacted: true };
    });
  }

  /** What follows a position, at most `limit` of it; `undefined`: not kept. */
  after({ epoch, offset }: Position, limit: number): Publication[] | undefined {
    if (epoch !== this.#epoch || offset < this.#base) return undefined;
    return this.#kept.filter((publication) => Number(publication.offset) > offset).slice(0, limit);
  }
}

/**
 * Publications kept of a channel; above, the oldest goes. More than wait in a port, so that a tab that was busy
 * for a moment needs no history.
 */
export const TAIL_PUBLICATIONS = 1024;
/** As {@link TAIL_PUBLICATIONS}, in bytes of payload. */
export const TAIL_BYTES = 1024 * 1024;
