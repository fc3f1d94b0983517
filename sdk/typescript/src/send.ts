// A publication in the outbox, as the application sees it.
import { Emitter } from "./emitter.js";
import { Payload, type SendState, type Stored } from "./events.js";

/**
 * A publication on its way. Awaiting it gives the final outcome, however many connections that takes:
 *
 * ```ts
 * const send = room.publish({ text: "hi" });
 * show(send.id, send.state.name);          // at once
 * const { position } = await send;         // stored
 * ```
 *
 * Nobody has to await it: a failure is then in {@link Send.state} alone.
 */
export class Send extends Payload implements PromiseLike<Stored> {
  #state: SendState = { name: "queued" };
  readonly #events = new Emitter<{ state: SendState }>();

  /** @internal */
  constructor(
    /** Names the publication from the start; receivers see it as `messageId`. A UUIDv7. */
    readonly id: string,
    /** Where it is published. */
    readonly channel: string,
    payload: Uint8Array,
  ) {
    super(payload);
  }

  /** The state now. */
  get state(): SendState {
    return this.#state;
  }

  /** Hears of every state that follows. Returns what ends the listening. */
  on(name: "state", listener: (state: SendState) => void): () => void {
    return this.#events.on(name, listener);
  }

  /** Waits for the outcome: what is stored, or a {@link SternaError}. */
  // biome-ignore lint/suspicious/noThenProperty: to be awaited is what it is for.
  then<A = Stored, B = never>(
    stored?: ((stored: Stored) => A | PromiseLike<A>) | null,
    failed?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    const outcome = new Promise<Stored>((resolve, reject) => {
      const settle = (state: SendState) => {
        if (state.name === "acked") {
          const { position, id, duplicate, serverTime } = state;
          resolve({ position, id, duplicate, serverTime });
        } else if (state.name === "failed") {
          reject(state.error);
        }
      };
      settle(this.#state);
      this.#events.on("state", settle);
    });
    return outcome.then(stored, failed);
  }

  /** @internal */
  set(state: SendState): void {
    this.#state = state;
    this.#events.emit("state", state);
  }
}
