// Pushes that are kept above a hole, in order of their offsets. Bounded: what does not fit comes with the
// recovery. Pure.
import type { Publication } from "../../events.js";

export class Waiting {
  readonly #kept = new Map<number, Publication>();
  #bytes = 0;

  /** Keeps a publication, unless a twin of a newer epoch is there or there is no room. */
  add(publication: Publication): void {
    const { epoch, offset } = publication.position;
    const twin = this.#kept.get(offset);
    if (twin && twin.position.epoch > epoch) return;
    const size = publication.payload.length;
    if (this.#kept.size >= WAITING_PUBLICATIONS || this.#bytes + size > WAITING_BYTES) return;
    this.delete(offset);
    this.#kept.set(offset, publication);
    this.#bytes += size;
  }

  /** What is kept, lowest offset first. */
  inOrder(): Publication[] {
    return [...this.#kept.values()].sort((a, b) => a.position.offset - b.position.offset);
  }

  delete(offset: number): void {
    this.#bytes -= this.#kept.get(offset)?.payload.length ?? 0;
    this.#kept.delete(offset);
  }

  clear(): void {
    this.#kept.clear();
    this.#bytes = 0;
  }
}

export const WAITING_PUBLICATIONS = 256;
export const WAITING_BYTES = 1024 * 1024;
