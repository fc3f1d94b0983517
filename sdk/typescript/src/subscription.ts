// The reader's end of a subscription.
import type { Client, PublishOptions } from "./client.js";
import type { Content } from "./content.js";
import { Emitter } from "./emitter.js";
import { SternaError } from "./errors.js";
import type { SubscriptionEvent } from "./events.js";
import type { Activity, Position } from "./options.js";
import type { Send } from "./send.js";
import type { Entry } from "./session/session.js";

/** Events of a subscription, by the names that {@link Subscription.on} takes. */
export type SubscriptionEvents = {
  [Type in SubscriptionEvent["type"]]: Extract<SubscriptionEvent, { type: Type }>;
};

/** What a subscription asks of its client. @internal */
export interface Owner {
  readonly client: Client;
  leave(entry: Entry): void;
  follow(entry: Entry, activity: Activity): void;
}

/**
 * Receives one channel. Publications arrive exactly once and in order, across connections; when the reader
 * is slow nothing is lost: they wait on the server.
 *
 * There is one queue and two ways to read it, of which a subscription uses one: `for await`, where an item
 * counts as delivered when the loop takes it and leaving the loop unsubscribes, or {@link Subscription.on}.
 */
export class Subscription implements AsyncIterable<SubscriptionEvent> {
  readonly #owner: Owner;
  readonly #entry: Entry;
  readonly #events = new Emitter<SubscriptionEvents>();
  #reader: "none" | "loop" | "listeners" = "none";
  #isOver = false;

  /** @internal */
  constructor(owner: Owner, entry: Entry) {
    this.#owner = owner;
    this.#entry = entry;
  }

  /** The client that holds it. */
  get client(): Client {
    return this.#owner.client;
  }

  /** What is being received. */
  get channel(): string {
    return this.#entry.machine.channel;
  }

  /**
   * The position after the last event that was taken; `undefined` before the first one. To be stored by
   * applications that want to go on there after a restart.
   */
  get position(): Position | undefined {
    return this.#entry.mailbox.position;
  }

  /** Publications arrive as they are stored. */
  get isLive(): boolean {
    return !this.#isOver && this.#entry.machine.phase === "live";
  }

  /** The next event; `undefined` once the subscription has ended. */
  next(): Promise<SubscriptionEvent | undefined> {
    this.#readAs("loop");
    return this.#entry.mailbox.next();
  }

  /** Reads to the end; leaving the loop unsubscribes. */
  async *[Symbol.asyncIterator](): AsyncGenerator<SubscriptionEvent, void, void> {
    try {
      for (;;) {
        const event = await this.next();
        if (!event) return;
        yield event;
      }
    } finally {
      this.unsubscribe();
    }
  }

  /** Hears of every event of one type. Returns what ends the listening. */
  on<Type extends keyof SubscriptionEvents>(
    type: Type,
    listener: (event: SubscriptionEvents[Type]) => void,
  ): () => void {
    const isFirst = this.#reader === "none";
    this.#readAs("listeners");
    // Listeners that are added in the same turn hear the first event, too.
    if (isFirst) queueMicrotask(() => this.#pump());
    return this.#events.on(type, listener);
  }

  /** Follows the channel in another class from here on: a word to the node, not a new subscription. */
  setActivity(activity: Activity): void {
    this.#owner.follow(this.#entry, activity);
  }

  /** As {@link Client.publish}, to this channel. */
  publish(content: Content, options?: PublishOptions): Send {
    return this.client.publish(this.channel, content, options);
  }

  /** As {@link Client.ephemeral}, to this channel. */
  ephemeral(key: string, content: Content): void {
    this.client.ephemeral(this.channel, key, content);
  }

  /** Tells that everything up to `offset` has arrived; by default what was taken here. */
  ack(offset?: number): Promise<void> {
    return this.client.ack(this.channel, this.#offset(offset));
  }

  /** Tells that the user has read everything up to `offset`; by default what was taken here. */
  markRead(offset?: number): Promise<void> {
    return this.client.markRead(this.channel, this.#offset(offset));
  }

  /** Ends it. What is in the queue is dropped. */
  unsubscribe(): void {
    this.#isOver = true;
    this.#owner.leave(this.#entry);
  }

  async #pump(): Promise<void> {
    for (;;) {
      const { mailbox } = this.#entry;
      // What is there already costs no turn.
      const event = mailbox.take() ?? (await mailbox.next());
      if (!event || this.#isOver) return;
      this.#events.emit(event.type, event as never);
    }
  }

  #offset(offset = this.position?.offset): number {
    if (offset !== undefined) return offset;
    throw new SternaError("BAD_REQUEST", "nothing received yet: name an offset");
  }

  #readAs(reader: "loop" | "listeners"): void {
    if (this.#reader !== "none" && this.#reader !== reader) {
      const message = "read by a loop or by listeners, not both";
      throw new SternaError("BAD_REQUEST", message);
    }
    this.#reader = reader;
  }
}

// Where the language has `using`.
export interface Subscription extends Disposable {}
if (Symbol.dispose) Subscription.prototype[Symbol.dispose] = Subscription.prototype.unsubscribe;
