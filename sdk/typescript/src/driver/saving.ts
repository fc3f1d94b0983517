// Between the outbox and its store: what has changed is written one batch at a time; what was saved is told
// to the session.
import { SternaError } from "../errors.js";
import type { OutboxChange, OutboxStore } from "../outbox-store.js";
import type { Outbox } from "../session/outbox.js";

export class Saving {
  #writing: Promise<void> | undefined;

  /** `onSaved` is called after each write: there may be something to send. */
  constructor(
    readonly store: OutboxStore | undefined,
    readonly outbox: Outbox,
    readonly onSaved: () => void,
  ) {}

  /** Begins the next write, if there is something to write and none under way. */
  step(): void {
    if (!this.store || this.#writing) return;
    const changes = this.outbox.takeChanges();
    if (changes.length === 0) return;
    this.#writing = this.#write(this.store, changes).finally(() => {
      this.#writing = undefined;
      this.onSaved();
    });
  }

  /** At the end of the client: what was published is for the next one to send. */
  async finish(): Promise<void> {
    for (;;) {
      this.step();
      if (!this.#writing) break;
      await this.#writing;
    }
    await this.store?.close();
  }

  async #write(store: OutboxStore, changes: OutboxChange[]): Promise<void> {
    const seqs = changes.flatMap((change) =>
      "insert" in change ? [Number(change.insert.clientSeq)] : [],
    );
    try {
      await store.write(changes);
      this.outbox.handleSaved(seqs);
    } catch (cause) {
      const message = `not saved, and not sent: ${cause}`;
      this.outbox.handleNotSaved(seqs, new SternaError("OUTBOX_STORE", message, { cause }));
    }
  }
}
