// The session as a state machine: outbox, subscriptions, calls and the ids of what is in flight. Handles
// change it, the driver feeds it frames and time and sends what it says. It never touches a socket or a
// clock. It outlives connections; `failEverything` ends it. Its first flight is in greeting.ts, what it
// wants sent in polling.ts, what the server says in replies.ts.
import { tell } from "../emitter.js";
import { closed, disconnected, SternaError, tooLarge } from "../errors.js";
import { newStatistics, type Statistics } from "../events.js";
import { Mailbox } from "../mailbox.js";
import type { Activity, SubscribeOptions } from "../options.js";
import type { StoredPublication } from "../outbox-store.js";
import type { Send } from "../send.js";
import { PAYLOAD_BYTES, SUBSCRIPTIONS } from "../wire/codes.js";
import type { Ephemeral, GoAway, Publish, Welcome } from "../wire/schema.js";
import { type Caller, Calls, type Verb } from "./calls.js";
import { InFlights } from "./in-flight.js";
import { Leaving } from "./leaving.js";
import type { Network } from "./network.js";
import { Outbox, type OutboxLimits } from "./outbox.js";
import { setActivity } from "./subscription/activity.js";
import { Machine } from "./subscription/machine.js";

/** One subscription: how it stands, and its reader's queue. */
export interface Entry {
  /** Tells it from earlier and later subscriptions of the channel. */
  readonly serial: number;
  readonly machine: Machine;
  readonly mailbox: Mailbox;
}

/** What the driver has to hear of a frame. */
export type Notice =
  | { readonly goAway: GoAway }
  | { readonly refreshed: true }
  | { readonly refreshFailed: SternaError };

/** How a session is made. */
export interface SessionOptions {
  readonly clientId: string;
  readonly userAgent: string;
  readonly outbox: OutboxLimits;
  /** Above every number that this client id has used before. */
  readonly firstSeq: number;
  /** There is a store of the outbox. */
  readonly isStored: boolean;
  readonly commandTimeout: number;
}

export class Session {
  /** What the device is connected through, where the application has said so. */
  network: Network | undefined;
  readonly outbox: Outbox;
  readonly subscriptions = new Map<string, Entry>();
  /** Channels whose Unsubscribe has still to be sent, or to be answered. */
  readonly leaving = new Map<string, Leaving>();
  readonly calls = new Calls();
  readonly inFlight = new InFlights();
  /** By channel and key: the newest wins. */
  readonly ephemerals = new Map<string, Ephemeral>();
  readonly notices: Notice[] = [];
  /** Who wants to hear that the inbox may have changed. */
  readonly inboxWatchers = new Set<() => void>();
  readonly stats: Statistics = newStatistics();
  resumeTicket = new Uint8Array();
  /** Of the present connection; `undefined` without one. */
  welcome: Welcome | undefined;
  #nextSerial = 0;
  #hasEnded = false;

  constructor(readonly options: SessionOptions) {
    this.outbox = new Outbox(options.outbox, options.firstSeq, options.isStored);
  }

  // What handles ask.

  subscribe(channel: string, options: SubscribeOptions): Entry {
    this.#checkOpen();
    if (this.subscriptions.has(channel)) {
      throw new SternaError("ALREADY_SUBSCRIBED", `${channel} is subscribed already`);
    }
    if (this.subscriptions.size >= SUBSCRIPTIONS) {
      throw new SternaError("QUEUE_FULL", `a client has at most ${SUBSCRIPTIONS} subscriptions`);
    }
    const machine = new Machine(channel, options, this.options.commandTimeout, this.stats);
    const mailbox = new Mailbox(machine.position);
    mailbox.put([{ type: "state", state: "subscribing" }]);
    const entry = { serial: this.#nextSerial++, machine, mailbox };
    this.subscriptions.set(channel, entry);
    return entry;
  }

  /** Ends the subscription, if it is still the channel's. */
  unsubscribe(entry: Entry): void {
    const { channel } = entry.machine;
    entry.mailbox.clear();
    if (this.subscriptions.get(channel) !== entry) return;
    this.subscriptions.delete(channel);
    if (this.welcome) this.leaving.set(channel, new Leaving());
  }

  setActivity(entry: Entry, activity: Activity): void {
    if (this.subscriptions.get(entry.machine.channel) === entry) {
      setActivity(entry.machine, activity);
    }
  }

  publish(publish: Publish, send: Send): void {
    const limit = this.welcome?.limits?.payloadBytes || PAYLOAD_BYTES;
    const { length } = publish.payload;
    if (this.#hasEnded) {
      send.set({ name: "failed", error: closed() });
    } else if (length > limit) {
      send.set({ name: "failed", error: tooLarge(length, limit) });
    } else {
      this.outbox.push(publish, send, this.welcome !== undefined);
    }
  }

  /** Takes back what an earlier process has published and nobody has answered for. */
  restore(stored: StoredPublication, send: Send): void {
    this.outbox.restore(stored, send);
  }

  /** Ephemerals are not kept: without a connection there is nobody to send them to. */
  ephemeral(ephemeral: Ephemeral): void {
    if (!this.welcome) throw disconnected("ephemerals are not kept");
    const key = JSON.stringify([ephemeral.channel, ephemeral.key]);
    if (!this.ephemerals.has(key) && this.ephemerals.size >= WAITING_EPHEMERALS) {
      for (const oldest of this.ephemerals.keys()) {
        this.ephemerals.delete(oldest);
        break;
      }
    }
    this.ephemerals.set(key, ephemeral);
  }

  /** Asks something; `calls.take` with what is returned takes it back. */
  call(verb: Verb, now: number, caller: Caller): number {
    this.#checkOpen();
    return this.calls.push(verb, now + this.options.commandTimeout, caller);
  }

  statistics(): Statistics {
    return { ...this.stats, outboxPublications: this.outbox.size };
  }

  // What the driver tells.

  /** The inbox may have changed. */
  onInboxTouched(): void {
    tell(this.inboxWatchers, undefined);
  }

  /** The connection is gone. */
  handleDisconnected(): void {
    this.welcome = undefined;
    this.forgetConnection();
    this.ephemerals.clear();
    for (const { mailbox } of this.subscriptions.values()) {
      mailbox.put([{ type: "state", state: "subscribing" }]);
    }
  }

  /** Pushes of the present connection were dropped: every channel makes sure of what it has. */
  handlePushesLost(): void {
    this.onInboxTouched();
    for (const { machine } of this.subscriptions.values()) machine.handlePushesLost();
  }

  /** The client is closed: everyone who waits hears of it. */
  failEverything(): void {
    this.#hasEnded = true;
    this.welcome = undefined;
    const error = closed();
    this.calls.failAll(error);
    this.outbox.failAll(error);
    for (const { mailbox } of this.subscriptions.values()) mailbox.end();
    this.subscriptions.clear();
    this.inboxWatchers.clear();
  }

  /** What hung on the connection has to be asked anew on the next. */
  forgetConnection(): void {
    this.inFlight.clear();
    this.leaving.clear();
    this.outbox.handleDisconnected();
    this.calls.handleDisconnected();
    for (const { machine } of this.subscriptions.values()) machine.handleDetached();
  }

  #checkOpen(): void {
    if (this.#hasEnded) throw closed();
  }
}

/** Ephemerals between two turns of the driver; beyond, the oldest goes. */
export const WAITING_EPHEMERALS = 64;
