// The handle that applications hold. Its methods change the session's state or ask something of it and wake
// the driver; none of them touches a connection.
import { checked, indexIn, natural } from "./checks.js";
import { bytesOf, type Content } from "./content.js";
import { Driver } from "./driver/driver.js";
import {
  enterBackground,
  goOffline,
  goOnline,
  leaveBackground,
  type NetworkChange,
  onNetworkChange,
} from "./driver/steps.js";
import { Emitter } from "./emitter.js";
import { badOption, closed, SternaError, tooLarge } from "./errors.js";
import { type ClientState, newUuid, type Statistics, uuidBytes, uuidText } from "./events.js";
import { checkChannel, checkClientId } from "./names.js";
import { type ClientOptions, COMMAND_TIMEOUT, type SubscribeOptions } from "./options.js";
import { followPage } from "./page.js";
import { Send } from "./send.js";
import type { Verb } from "./session/calls.js";
import type { Network } from "./session/network.js";
import { OUTBOX_LIMITS } from "./session/outbox.js";
import { Session } from "./session/session.js";
import { type Owner, Subscription } from "./subscription.js";
import { dialsOf } from "./transport/dials.js";
import { parseTarget } from "./transport/target.js";
import { EPHEMERAL_BYTES } from "./wire/codes.js";
import {
  ACTIVITY,
  PUBLICATION_KIND,
  type Publish,
  type Reply,
  type Welcome,
} from "./wire/schema.js";

/** What a client tells beside its subscriptions. */
export interface ClientEvents {
  /** Every change of {@link Client.state}. */
  state: ClientState;
}

/** How something is published. */
export interface PublishOptions {
  /** An id that the application has made: a UUID, best one of version 7. */
  readonly id?: string;
  /** What it is about an earlier publication, at `target`. */
  readonly kind?: "edit" | "recall" | "reaction";
  /** The offset of the publication that an edit, a recall or a reaction is about. */
  readonly target?: number;
}

/** One session with a cluster. */
export class Client {
  /** Names the installation. */
  readonly clientId: string;
  /** What an earlier client has left in the outbox store; it is sent without further ado. */
  readonly restored: readonly Send[];
  readonly #driver: Driver;
  readonly #session: Session;
  readonly #events = new Emitter<ClientEvents>();
  readonly #unfollow: () => void;
  readonly #owner: Owner;

  /**
   * Never connects: see {@link Client.connect}. `address` is `sterna://host` (port 4443), `https://host`
   * (port 443), each with or without a port. Throws a `CONFIG` error for what cannot work.
   */
  constructor(address: string, options: ClientOptions = {}) {
    const { store, ...limits } = options.outbox ?? {};
    this.clientId = store?.stored.clientId ?? options.clientId ?? uuidText(newUuid(Date.now()));
    checkClientId(this.clientId);
    this.#session = new Session({
      clientId: this.clientId,
      userAgent: options.userAgent ?? "sterna-ts",
      outbox: { ...OUTBOX_LIMITS, ...limits },
      firstSeq: Math.max(Date.now() * SEQS_PER_MS, (store?.stored.lastSeq ?? 0) + 1),
      isStored: store !== undefined,
      commandTimeout: options.commandTimeout ?? COMMAND_TIMEOUT,
    });
    this.#session.network = options.network;
    this.#driver = new Driver({
      session: this.#session,
      target: parseTarget(address),
      dials: options.dials ?? dialsOf(options),
      token: options.token ?? "",
      store,
      onState: (state) => this.#events.emit("state", state),
    });
    this.restored = (store?.stored.publications ?? []).map((stored) => {
      const { clientMsgId, channel, payload } = stored.publish;
      const send = new Send(uuidText(clientMsgId), channel, payload);
      this.#session.restore(stored, send);
      return send;
    });
    this.#owner = {
      client: this,
      leave: (entry) => this.#change(() => this.#session.unsubscribe(entry)),
      follow: (entry, activity) => {
        indexIn(ACTIVITY, activity, "activity");
        this.#change(() => this.#session.setActivity(entry, activity));
      },
    };
    this.#unfollow = options.page === false ? () => {} : followPage(this);
  }

  /** The state now. */
  get state(): ClientState {
    return this.#driver.state;
  }

  /** Hears of every change. Returns what ends the listening. */
  on<Name extends keyof ClientEvents>(
    name: Name,
    listener: (event: ClientEvents[Name]) => void,
  ): () => void {
    return this.#events.on(name, listener);
  }

  /** Asks for a connection and for keeping one from now on. Returns at once. */
  connect(): void {
    goOnline(this.#driver);
  }

  /**
   * Gives the connection up and ends the session on the server. Subscriptions and the outbox stay and
   * continue with the next {@link Client.connect}.
   */
  disconnect(): void {
    if (this.state.name !== "closed") goOffline(this.#driver);
  }

  /**
   * Waits until there is a session. Rejects with the terminal error if there is one, with the last
   * attempt's error or a `TIMEOUT` after `timeout` milliseconds, and with the reason of `signal`.
   */
  ready({ timeout, signal }: { timeout?: number; signal?: AbortSignal } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        off();
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        settle();
      };
      const onAbort = () => end(() => reject(signal?.reason));
      const look = (state: ClientState) => {
        if (state.name === "connected") end(resolve);
        else if (state.name === "closed") end(() => reject(closed()));
        else if (state.name === "disconnected" && state.error) end(() => reject(state.error));
      };
      const onTimeout = () => {
        const last = this.state.name === "connecting" ? this.state.lastError : undefined;
        end(() => reject(last ?? new SternaError("TIMEOUT", `no session in ${timeout} ms`)));
      };
      const timer = timeout === undefined ? undefined : setTimeout(onTimeout, timeout);
      const off = this.on("state", look);
      signal?.addEventListener("abort", onAbort);
      if (signal?.aborted) onAbort();
      else look(this.state);
    });
  }

  /**
   * Receives a channel. One subscription per channel and client; it ends with its loop, with
   * {@link Subscription.unsubscribe}, or with an `error` event.
   */
  subscribe(channel: string, options: SubscribeOptions = {}): Subscription {
    checkChannel(channel);
    const { from, activity = "active" } = options;
    if (typeof from === "object") checked(from, "from");
    indexIn(ACTIVITY, activity, "activity");
    const entry = this.#change(() => this.#session.subscribe(channel, options));
    entry.mailbox.onRoom = () => this.#driver.wake();
    return new Subscription(this.#owner, entry);
  }

  /**
   * Publishes: bytes as they are, text as UTF-8, anything else as JSON. Never waits; when the publication
   * cannot be taken, the handle has failed already. It is sent until the server has answered for it, over
   * as many connections as that takes, stored once and in order.
   */
  publish(channel: string, content: Content, options: PublishOptions = {}): Send {
    checkChannel(channel);
    const clientMsgId = options.id === undefined ? newUuid(Date.now()) : uuidBytes(options.id);
    if (!clientMsgId) throw badOption(`"${options.id}" is no UUID`);
    const payload = bytesOf(content);
    const send = new Send(uuidText(clientMsgId), channel, payload);
    const publish: Publish = {
      channel,
      payload,
      clientSeq: 0,
      clientMsgId,
      clientTsMs: Date.now(),
      kind: indexIn(PUBLICATION_KIND, options.kind ?? "message", "kind"),
      targetOffset: natural(options.target ?? 0, "target"),
      ordered: true,
      settledBelow: 0,
    };
    this.#change(() => this.#session.publish(publish, send));
    return send;
  }

  /**
   * Sends something that is not stored: typing, a cursor, a live location. The newest wins per channel,
   * sender and key. Lost without a connection, and throws then.
   */
  ephemeral(channel: string, key: string, content: Content): void {
    checkChannel(channel);
    const payload = bytesOf(content);
    if (payload.length > EPHEMERAL_BYTES) throw tooLarge(payload.length, EPHEMERAL_BYTES);
    this.#change(() => this.#session.ephemeral({ channel, key, payload, sender: "" }));
  }

  /** Tells that everything up to `offset` has arrived. */
  async ack(channel: string, offset: number): Promise<void> {
    await this.call({ ack: { channel, offset: natural(offset, "offset") } });
  }

  /** Tells that the user has read everything up to `offset`. */
  async markRead(channel: string, offset: number): Promise<void> {
    await this.call({ markRead: { channel, offset: natural(offset, "offset") } });
  }

  /**
   * Asks the server something that has no method of its own, and gives its reply: the messages of
   * `proto/sterna/v1/client.proto`. Asked again on another connection, so for idempotent verbs only. Bytes in the
   * reply may share their buffer with others: copy what is to be given away.
   */
  async call(verb: Verb, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Reply> {
    signal?.throwIfAborted();
    let giveUp = () => {};
    const answer = new Promise<Reply>((answered, failed) => {
      const caller = { answered, failed };
      const serial = this.#change(() => this.#session.call(verb, performance.now(), caller));
      giveUp = () => this.#session.calls.take(serial)?.failed(signal?.reason);
    });
    signal?.addEventListener("abort", giveUp);
    return answer.finally(() => signal?.removeEventListener("abort", giveUp));
  }

  /** Counts since the client was made. */
  statistics(): Statistics {
    return this.#session.statistics();
  }

  /**
   * Publishes again what another client of this id has published under the number in it: the server knows it by
   * that. @internal
   */
  republish(publish: Publish): Send {
    const send = new Send(uuidText(publish.clientMsgId), publish.channel, publish.payload);
    this.#change(() => this.#session.restore({ publish, attempted: true }, send));
    return send;
  }

  /** The number of the last publication. @internal */
  get lastSeq(): number {
    return this.#session.outbox.nextSeq - 1;
  }

  /** What the server has said of the session; `undefined` without a connection. @internal */
  get welcome(): Welcome | undefined {
    return this.#session.welcome;
  }

  /** Hears whenever the user's inbox may have changed; for `@sterna/client/inbox`. @internal */
  watchInbox(watcher: () => void): () => void {
    this.#session.inboxWatchers.add(watcher);
    return () => this.#session.inboxWatchers.delete(watcher);
  }

  /**
   * To be called when the system reports a change of the network: the path, or a network at all, or that the
   * device was asleep. In pages the client hears of it by itself. `network` is what the device is connected
   * through now, for operators to see; the browser is asked where it was never said.
   */
  networkChanged(change: NetworkChange = "path", network?: Network): void {
    this.#session.network = network ?? this.#session.network;
    onNetworkChange(this.#driver, change);
  }

  /**
   * The application is in the background: the connection is closed after `grace` milliseconds, and the
   * session waits on the server. In pages the client hears of freezing by itself.
   */
  background(grace = BACKGROUND_GRACE): void {
    enterBackground(this.#driver, grace);
  }

  /** The application is back: connects and resumes, or makes sure that the connection lives. */
  foreground(): void {
    leaveBackground(this.#driver);
  }

  /**
   * Ends the client for good: calls and publications that wait fail with `CLOSED`, subscriptions end.
   * Resolves when what is to be kept in the outbox store is there.
   */
  async dispose(): Promise<void> {
    this.#unfollow();
    await this.#driver.close();
  }

  #change<Result>(change: () => Result): Result {
    const result = change();
    this.#driver.wake();
    return result;
  }
}

// Where the language has `await using`.
export interface Client extends AsyncDisposable {}
if (Symbol.asyncDispose) {
  Client.prototype[Symbol.asyncDispose] = function () {
    return this.dispose();
  };
}

/**
 * Sequence numbers start at the time of making, so that a client id that is used again never repeats one:
 * room for so many publications a millisecond, exact in a `number` until the year 2248.
 */
const SEQS_PER_MS = 1024;
/** Systems give a process in the background about 30 s. */
export const BACKGROUND_GRACE = 25_000;
