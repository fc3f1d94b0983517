// Between the session and one subscription's reader: a bounded queue of events. Publications are only put
// in while there is room (the session stops taking them otherwise and recovers them later), what has no
// position is dropped and counted, states replace each other.
import type { SubscriptionEvent } from "./events.js";
import { type Position, RECEIVE_QUEUE_EVENTS } from "./options.js";

export class Mailbox {
  #events: SubscriptionEvent[] = [];
  #missed = 0;
  #hasEnded = false;
  /** Somebody stopped for want of room and wants to hear of some. */
  #isStalled = false;
  #waiting: (() => void)[] = [];
  /** Where the reader stands: what it has taken, not what has arrived. */
  position: Position | undefined;
  /** Called when there is room again for a session that had stopped. */
  onRoom = () => {};

  constructor(position: Position | undefined) {
    this.position = position;
  }

  /**
   * How many publications may be put in. Asking while there are few leaves word that the session waits
   * for room.
   */
  room(): number {
    const room = Math.max(RECEIVE_QUEUE_EVENTS - this.#events.length, 0);
    this.#isStalled = room < ROOM_TO_GO_ON;
    return room;
  }

  put(events: readonly SubscriptionEvent[]): void {
    for (const event of events) this.#put(event);
    this.#wake();
  }

  /** Nothing follows what is in the queue. */
  end(): void {
    this.#hasEnded = true;
    this.#wake();
  }

  /** Nobody wants what is in the queue any more, either. */
  clear(): void {
    this.#events = [];
    this.#missed = 0;
    this.end();
  }

  /** The next event; `undefined` at the end. */
  async next(): Promise<SubscriptionEvent | undefined> {
    for (;;) {
      const event = this.take();
      if (event || this.#hasEnded) return event;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** The next event, if there is one now. */
  take(): SubscriptionEvent | undefined {
    if (this.#missed > 0) {
      const missed = this.#missed;
      this.#missed = 0;
      return { type: "lagged", missed };
    }
    const event = this.#events.shift();
    if (!event) return undefined;
    this.#follow(event);
    if (this.#isStalled && RECEIVE_QUEUE_EVENTS - this.#events.length >= ROOM_TO_GO_ON) {
      this.#isStalled = false;
      this.onRoom();
    }
    return event;
  }

  #follow(event: SubscriptionEvent): void {
    if (event.type === "publication") {
      this.position = event.position;
    } else if (event.type === "state" && event.state === "subscribed") {
      this.position = event.position;
    } else if (event.type === "gap") {
      this.position = { epoch: event.epoch, offset: event.upto };
    } else if (event.type === "epoch") {
      const offset = Math.min(this.position?.offset ?? event.keepUpto, event.keepUpto);
      this.position = { epoch: event.new, offset };
    }
  }

  #put(event: SubscriptionEvent): void {
    const isFull = this.#events.length >= RECEIVE_QUEUE_EVENTS;
    const last = this.#events.at(-1)?.type;
    switch (event.type) {
      case "presence":
      case "presenceGap":
      case "receipt":
      case "ephemeral":
        if (isFull) this.#missed++;
        else this.#events.push(event);
        return;
      case "state":
      case "head":
        if (last === event.type) this.#events.pop();
        else if (isFull && event.type === "state" && event.state === "subscribing") return;
        break;
      case "recovered":
        if (isFull) return;
        break;
    }
    this.#events.push(event);
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/**
 * A session that stopped goes on when half of the queue is free: fewer would make many small pages of
 * recovery.
 */
export const ROOM_TO_GO_ON = RECEIVE_QUEUE_EVENTS / 2;
