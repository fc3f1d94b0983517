// Commands that a caller waits for and that may be asked again on another connection: all their verbs
// are idempotent. Pure.

import type { Init } from "../codec/message.js";
import { SternaError } from "../errors.js";
import type { Command, Reply } from "../wire/schema.js";
import { NEVER } from "./never.js";

/** What is asked: one verb of a command. */
export type Verb = Omit<Init<Command>, "id">;

/** Who waits for the answer. */
export interface Caller {
  answered(reply: Reply): void;
  failed(error: unknown): void;
}

interface Call {
  readonly verb: Verb;
  readonly caller: Caller;
  readonly deadline: number;
  sent: boolean;
}

export class Calls {
  #nextSerial = 0;
  #inFlight = 0;
  /** In the order of asking, and so of deadlines. */
  readonly #waiting = new Map<number, Call>();

  /** Takes a command and returns what takes it back; refuses when too many wait already. */
  push(verb: Verb, deadline: number, caller: Caller): number {
    if (this.#waiting.size >= WAITING_CALLS) {
      throw new SternaError("QUEUE_FULL", "too many commands wait for their answers");
    }
    const serial = this.#nextSerial++;
    this.#waiting.set(serial, { verb, caller, deadline, sent: false });
    return serial;
  }

  /** The next command to send. */
  pollSend(): { serial: number; verb: Verb } | undefined {
    if (this.#inFlight >= IN_FLIGHT_CALLS) return undefined;
    for (const [serial, call] of this.#waiting) {
      if (call.sent) continue;
      call.sent = true;
      this.#inFlight++;
      return { serial, verb: call.verb };
    }
    return undefined;
  }

  /** The caller of `serial`, who is not waiting from here on; `undefined` where he has gone already. */
  take(serial: number): Caller | undefined {
    const call = this.#waiting.get(serial);
    this.#waiting.delete(serial);
    if (call?.sent) this.#inFlight--;
    return call?.caller;
  }

  /** Every call is asked again on the next connection. */
  handleDisconnected(): void {
    this.#inFlight = 0;
    for (const call of this.#waiting.values()) call.sent = false;
  }

  handleTimeout(now: number): void {
    for (const [serial, call] of this.#waiting) {
      if (call.deadline > now) break;
      this.take(serial)?.failed(new SternaError("TIMEOUT", "no answer in time"));
    }
  }

  failAll(error: SternaError): void {
    for (const serial of this.#waiting.keys()) this.take(serial)?.failed(error);
  }

  deadline(): number {
    for (const call of this.#waiting.values()) return call.deadline;
    return NEVER;
  }
}

/** Callers beyond this many are refused: the server answers 64 at a time. */
export const WAITING_CALLS = 1024;
/** With publications this stays below the 64 commands that a server takes at a time. */
const IN_FLIGHT_CALLS = 16;
