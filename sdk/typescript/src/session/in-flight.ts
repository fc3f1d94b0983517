// Commands that the server owes an answer to, by their ids. One that is not answered in time frees its
// place and is asked anew by whoever asked; its answer may still come, and is then known as a late one.
// Pure.
import { NEVER } from "./never.js";

/** What an id in flight stands for. */
export type Asked =
  | { readonly verb: "publish"; readonly seq: number }
  | { readonly verb: "subscribe"; readonly channel: string; readonly serial: number }
  | { readonly verb: "unsubscribe"; readonly channel: string }
  | { readonly verb: "setActivity"; readonly channel: string; readonly serial: number }
  | { readonly verb: "call"; readonly serial: number }
  | { readonly verb: "ping"; readonly sent: number }
  | { readonly verb: "refresh" };

interface Open {
  readonly asked: Asked;
  readonly sent: number;
}

export class InFlights {
  #nextId = 1;
  readonly #open = new Map<number, Open>();
  readonly #late = new Map<number, Asked>();

  /**
   * Ids go up without end, so that a reply from an earlier connection is never taken for one of this
   * connection; 0 is no id.
   */
  takeId(): number {
    const id = this.#nextId;
    this.#nextId = id === LAST_ID ? 1 : id + 1;
    return id;
  }

  /** Numbers a command that is sent now. */
  insert(asked: Asked, now: number): number {
    const id = this.takeId();
    this.#open.set(id, { asked, sent: now });
    return id;
  }

  /** The answer to `id` has come. `undefined`: of an earlier connection, or forgotten. */
  take(id: number): { asked: Asked; late: boolean } | undefined {
    const open = this.#open.get(id);
    const asked = open?.asked ?? this.#late.get(id);
    this.#open.delete(id);
    this.#late.delete(id);
    return asked && { asked, late: !open };
  }

  /** Gives up what was sent `patience` ago or earlier, and says what that is. */
  expire(now: number, patience: number): Asked[] {
    const expired = [];
    // In the order of sending.
    for (const [id, { asked, sent }] of this.#open) {
      if (sent + patience > now) break;
      this.#open.delete(id);
      this.#late.set(id, asked);
      expired.push(asked);
    }
    for (const id of this.#late.keys()) {
      if (this.#late.size <= LATE_ANSWERS) break;
      this.#late.delete(id);
    }
    return expired;
  }

  /** When `expire` has something; `Infinity`: never by time alone. */
  deadline(patience: number): number {
    for (const { sent } of this.#open.values()) return sent + patience;
    return NEVER;
  }

  /** The connection is gone, and with it every answer. */
  clear(): void {
    this.#open.clear();
    this.#late.clear();
  }

  get size(): number {
    return this.#open.size;
  }

  /** Commands of this verb that may still be answered in time. */
  count(verb: Asked["verb"]): number {
    let count = 0;
    for (const { asked } of this.#open.values()) if (asked.verb === verb) count++;
    return count;
  }
}

const LAST_ID = 2 ** 32 - 1;
/** Commands whose late answers would be understood; above, the oldest is forgotten. */
export const LATE_ANSWERS = 256;
