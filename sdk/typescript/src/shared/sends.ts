// Publications of tabs, each published once: a tab that sends one again, on the same link or a later one,
// waits for the outcome of the first. As at an edge, a publication that was refused for the moment holds back
// what its tab has published in that channel after it, so that nothing overtakes it.
import type { Client } from "../client.js";
import { SternaError } from "../errors.js";
import { type SendState, uuidText } from "../events.js";
import type { Send } from "../send.js";
import { PUBLICATION_KIND, type Publish } from "../wire/schema.js";
import { type Numbered, toWire } from "./messages.js";
import type { Outlet } from "./outlet.js";

interface Known {
  readonly send: Send;
  /** Who is to be told of the outcome. */
  waiting: { readonly outlet: Outlet; readonly id: number }[];
}

export class Sends {
  readonly #client: Client;
  /** By message id, oldest first. */
  readonly #known = new Map<string, Known>();

  constructor(client: Client) {
    this.#client = client;
  }

  /**
   * Takes a publication of a tab, whose turns are `turns`; it is answered when it is settled. `number`: a worker
   * that has died had published it.
   */
  publish(outlet: Outlet, id: number, publish: Publish, turns: Turns, number?: Numbered): void {
    const key = uuidText(publish.clientMsgId);
    let known = this.#known.get(key);
    if (!known) {
      known = this.#begin(key, publish, turns, number);
      if (!known) return outlet.reply(id, { error: BUSY });
      const { clientId, lastSeq } = this.#client;
      // Before it leaves: whoever outlives this worker has to know.
      if (!number) outlet.say({ numbered: { message: key, clientId, seq: lastSeq } });
    }
    known.waiting.push({ outlet, id });
    this.#onState(key, known, known.send.state);
  }

  /** `undefined`: it is not its turn, or there is no room. */
  #begin(key: string, publish: Publish, turns: Turns, number?: Numbered): Known | undefined {
    const { channel, clientSeq, settledBelow } = publish;
    const seq = Number(clientSeq);
    if (!turns.admits(channel, seq, Number(settledBelow))) return undefined;
    const send =
      number?.clientId === this.#client.clientId
        ? this.#client.republish({ ...publish, clientSeq: number.seq })
        : this.#publish(key, publish);
    if (send.state.name === "failed" && send.state.error.retryable) {
      turns.onRefused(channel, seq);
      return undefined;
    }
    const known = { send, waiting: [] };
    this.#known.set(key, known);
    this.#forgetOldest();
    send.on("state", (state) => this.#onState(key, known, state));
    return known;
  }

  #publish(id: string, { channel, payload, kind, targetOffset }: Publish): Send {
    const name = PUBLICATION_KIND[kind];
    const isAbout = name === "edit" || name === "recall" || name === "reaction";
    const about = isAbout && { kind: name, target: Number(targetOffset) };
    return this.#client.publish(channel, payload, { id, ...about });
  }

  #onState(key: string, known: Known, state: SendState): void {
    if (state.name !== "acked" && state.name !== "failed") return;
    const { waiting, send } = known;
    known.waiting = [];
    // To be tried again, it has to be published again.
    if (state.name === "failed") this.#known.delete(key);
    for (const { outlet, id } of waiting) {
      if (state.name === "failed") {
        outlet.reply(id, { error: toWire(state.error) });
      } else {
        const { position, duplicate, serverTime } = state;
        const place = { ...position, id: BigInt(state.id), serverTsMs: serverTime, duplicate };
        outlet.reply(id, { published: { channel: send.channel, ...place } });
      }
    }
  }

  #forgetOldest(): void {
    for (const [key, { send }] of this.#known) {
      if (this.#known.size <= SETTLED_SENDS) return;
      if (send.state.name === "acked") this.#known.delete(key);
    }
  }
}

/** In whose turn a publication of one tab is: what was refused goes first. */
export class Turns {
  readonly #refused = new Map<string, Set<number>>();

  /** Whether nothing that was refused lies before; what does is then refused as well. */
  admits(channel: string, seq: number, settledBelow: number): boolean {
    const refused = this.#refused.get(channel);
    if (!refused) return true;
    for (const each of refused) if (each < settledBelow || each === seq) refused.delete(each);
    const isFree = [...refused].every((each) => each > seq);
    if (!isFree) refused.add(seq);
    if (refused.size === 0) this.#refused.delete(channel);
    return isFree;
  }

  onRefused(channel: string, seq: number): void {
    const refused = this.#refused.get(channel) ?? new Set();
    this.#refused.set(channel, refused.add(seq));
  }
}

/** Milliseconds after which there may be room in the worker. */
const ROOM_SOON = 100;
const BUSY = toWire(
  new SternaError("BUSY", "too much waits in the worker", {
    retryable: true,
    retryAfter: ROOM_SOON,
  }),
);
/** Outcomes that are remembered for tabs that ask again; above, the oldest is forgotten. */
export const SETTLED_SENDS = 1024;
