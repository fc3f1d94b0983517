// One client of the worker and the tabs that share it. To each tab it is an edge: Hello and Welcome, rooms,
// commands that are passed on, a GoAway when the client has moved. It connects while a tab wants it to, and
// ends with the last one.
import type { Client } from "../client.js";
import type { NetworkChange } from "../driver/steps.js";
import { SternaError } from "../errors.js";
import type { ClientState } from "../events.js";
import type { TokenRequest } from "../options.js";
import type { Command, Subscribe } from "../wire/schema.js";
import { type Join, type Numbered, TABS, toWire } from "./messages.js";
import type { Outlet } from "./outlet.js";
import { type Respond, Room } from "./room.js";
import { Sends } from "./sends.js";
import { Tab } from "./tab.js";
import { Tokens } from "./tokens.js";

/** Makes the client of a group. */
export type MakeClient = (join: Join, token: (request: TokenRequest) => Promise<string>) => Client;

export class Group {
  readonly #worker: string;
  readonly #client: Client;
  readonly #tabs = new Map<string, Tab>();
  readonly #rooms = new Map<string, Room>();
  readonly #sends: Sends;
  readonly #tokens = new Tokens(() => this.#tabs.values());
  readonly #unwatch: () => void;
  /** What the page reports of the network, every tab of it at once. */
  #networkAt = new Map<NetworkChange, number>();
  isOver = false;
  #lingering: ReturnType<typeof setTimeout> | undefined;

  /** `worker`: names the worker. */
  constructor(worker: string, join: Join, make: MakeClient) {
    this.#worker = worker;
    this.#client = make(join, (request) => this.#tokens.ask(request));
    this.#sends = new Sends(this.#client);
    this.#client.on("state", (state) => this.#onState(state));
    this.#unwatch = this.#client.watchInbox(() => {
      for (const [outlet] of this.#outlets()) {
        if (outlet.isWelcomed) outlet.push({ inboxTouched: { channel: "" } });
      }
    });
  }

  get isEmpty(): boolean {
    return this.#tabs.size === 0;
  }

  has(tab: string): boolean {
    return this.#tabs.has(tab);
  }

  /** The tab of that name; `undefined`: there are too many. */
  tab(name: string): Tab | undefined {
    const known = this.#tabs.get(name);
    if (known || this.#tabs.size >= TABS) return known;
    const tab = new Tab();
    this.#tabs.set(name, tab);
    return tab;
  }

  /** A tab has a port more. */
  onOpen(tab: Tab, outlet: Outlet): void {
    tab.outlets.add(outlet);
    // Its older ports stay in their rooms until it has said what it wants.
    tab.awayAfter = undefined;
    outlet.onRoom = () => {
      for (const room of this.#rooms.values()) room.onRoom(outlet);
    };
    outlet.say({ open: true, worker: this.#worker, clientId: this.#client.clientId });
  }

  /** The link is closed by its tab. */
  onLeave(tab: Tab, outlet: Outlet): void {
    outlet.isOver = true;
    this.#leaveRooms(outlet);
    this.#dropUseless(tab);
  }

  /** The tab is closed, or dead. */
  onGone(name: string): void {
    const tab = this.#tabs.get(name);
    if (!tab) return;
    this.#tabs.delete(name);
    for (const outlet of tab.outlets) {
      this.#leaveRooms(outlet);
      outlet.close();
    }
    this.#tokens.onGone(tab);
    this.#balance();
  }

  /** The page of the tab is in the background; `undefined`: it is back. */
  onAway(tab: Tab, grace: number | undefined): void {
    tab.awayAfter = grace;
    this.#balance();
  }

  onNetwork(change: NetworkChange, now: number): void {
    if (now - (this.#networkAt.get(change) ?? Number.NEGATIVE_INFINITY) < SAME_NEWS) return;
    this.#networkAt.set(change, now);
    this.#client.networkChanged(change);
  }

  onAnswer(...answer: Parameters<Tokens["onAnswer"]>): void {
    this.#tokens.onAnswer(...answer);
  }

  /** A command of a tab. */
  onCommand(tab: Tab, outlet: Outlet, command: Command, number?: Numbered): void {
    if (command.hello) return this.#onHello(tab, outlet, command);
    if (command.goodbye) {
      tab.isWanting = false;
      return this.#balance();
    }
    if (!outlet.isWelcomed || outlet.isOver) return;
    const { id, publish, subscribe, unsubscribe, setActivity, ephemeral, ping } = command;
    if (publish) {
      this.#sends.publish(outlet, id, publish, tab.turns, number);
    } else if (subscribe) {
      this.#subscribe(outlet, subscribe, (answer) => {
        if (answer instanceof SternaError) outlet.reply(id, { error: toWire(answer) });
        else outlet.reply(id, { subscribed: answer });
      });
    } else if (unsubscribe) {
      this.#leaveRoom(unsubscribe.channel, outlet);
      outlet.reply(id, { done: {} });
    } else if (setActivity) {
      this.#rooms.get(setActivity.channel)?.setActivity(outlet, setActivity.activity);
      outlet.reply(id, { done: {} });
    } else if (ephemeral) {
      this.#onEphemeral(outlet, ephemeral);
    } else if (ping) {
      const observedAddress = "";
      outlet.reply(id, { pong: { ...ping, serverTimeMs: Date.now(), observedAddress } });
    } else {
      this.#passOn(outlet, command);
    }
  }

  /** Ends everything. */
  dispose(): void {
    this.isOver = true;
    clearTimeout(this.#lingering);
    this.#unwatch();
    for (const room of this.#rooms.values()) room.close();
    this.#rooms.clear();
    void this.#client.dispose();
  }

  #onHello(tab: Tab, outlet: Outlet, { id, hello }: Command): void {
    if (!hello) return;
    const { failure } = tab;
    tab.failure = undefined;
    if (failure) return outlet.reply(id, { error: toWire(failure) });
    tab.isWanting = true;
    outlet.hello = { id, hello };
    this.#balance();
    this.#welcome(tab, outlet);
  }

  /** Answers a Hello, once there is a connection. */
  #welcome(tab: Tab, outlet: Outlet): void {
    const { welcome, state } = this.#client;
    const { hello: greeting } = outlet;
    if (!greeting || !welcome || state.name !== "connected") return;
    const { id, hello } = greeting;
    outlet.hello = undefined;
    outlet.isWelcomed = true;
    const own = { resumeTicket: new Uint8Array(), heartbeatMs: HEARTBEAT, tokenExpiresAtMs: 0 };
    outlet.answer({ reply: { id, welcome: { ...welcome, ...own } } }, state.transport);
    for (const subscribe of hello.subscriptions) {
      const { channel } = subscribe;
      this.#subscribe(outlet, subscribe, (answer) => {
        const subscribed =
          answer instanceof SternaError
            ? { channel, publications: [], live: false, headOffset: 0, error: toWire(answer) }
            : answer;
        outlet.answer({ push: { subscribed } });
      });
      // Joins and leaves in between were told to nobody.
      if (welcome.resumed && subscribe.presence) outlet.push({ presenceGap: { channel } });
    }
    this.#dropUseless(tab);
  }

  #onState(state: ClientState): void {
    if (state.name === "connected") {
      for (const [outlet, tab] of this.#outlets()) {
        if (outlet.isOver) outlet.say({ up: true });
        else if (outlet.isWelcomed) outlet.answer(COME_AGAIN);
        else this.#welcome(tab, outlet);
      }
      return;
    }
    const error = "error" in state ? state.error : undefined;
    const last = state.name === "connecting" ? state.lastError : undefined;
    this.#linger();
    for (const tab of this.#tabs.values()) {
      if (error) tab.onFailed(error);
      else tab.onLost(last?.message ?? "the connection of the worker is gone");
      this.#dropUseless(tab);
    }
  }

  /** Rooms outlive a short loss of the connection: their tabs come again and go on. */
  #linger(): void {
    clearTimeout(this.#lingering);
    this.#lingering = setTimeout(() => {
      for (const [outlet] of this.#outlets()) if (outlet.isOver) this.#leaveRooms(outlet);
    }, LINGER);
  }

  #subscribe(outlet: Outlet, asked: Subscribe, respond: Respond): void {
    const { channel } = asked;
    try {
      const room = this.#rooms.get(channel) ?? this.#open(channel);
      room.subscribe(outlet, asked, (answer) => {
        // The tab has no subscription any more.
        if (answer instanceof SternaError && !answer.retryable) this.#leaveRoom(channel, outlet);
        respond(answer);
      });
    } catch (error) {
      // All tabs together have too many channels.
      this.#leaveRoom(channel, outlet);
      const { message } = error as SternaError;
      respond(new SternaError("LIMIT_EXCEEDED", message));
    }
  }

  #open(channel: string): Room {
    const room = new Room(this.#client, channel, () => this.#rooms.delete(channel));
    this.#rooms.set(channel, room);
    return room;
  }

  #leaveRooms(outlet: Outlet): void {
    for (const channel of [...this.#rooms.keys()]) this.#leaveRoom(channel, outlet);
  }

  #leaveRoom(channel: string, outlet: Outlet): void {
    const room = this.#rooms.get(channel);
    room?.leave(outlet);
    if (!room?.isEmpty) return;
    this.#rooms.delete(channel);
    room.close();
  }

  #onEphemeral(outlet: Outlet, ephemeral: NonNullable<Command["ephemeral"]>): void {
    const { channel, key, payload } = ephemeral;
    const { state } = this.#client;
    if (state.name !== "connected") return;
    this.#client.ephemeral(channel, key, payload);
    const sender = state.user;
    this.#rooms.get(channel)?.passEphemeral(outlet, { ephemeral: { ...ephemeral, sender } });
  }

  #passOn(outlet: Outlet, { id, ...verb }: Command): void {
    this.#client.call(verb).then(
      ({ id: _, ...reply }) => outlet.reply(id, reply),
      (error: SternaError) => {
        // The tab has a clock of its own.
        if (error.code !== "TIMEOUT") outlet.reply(id, { error: toWire(error) });
      },
    );
  }

  /** Has a connection while a tab wants one and is awake. */
  #balance(): void {
    const wanting = [...this.#tabs.values()].filter(({ isWanting }) => isWanting);
    if (wanting.length === 0) {
      if (this.#client.state.name !== "disconnected") this.#client.disconnect();
      return;
    }
    const graces = wanting.map(({ awayAfter }) => awayAfter);
    if (graces.every((grace) => grace !== undefined)) {
      this.#client.background(Math.max(...(graces as number[])));
    } else {
      this.#client.foreground();
      this.#client.connect();
    }
  }

  #outlets(): [Outlet, Tab][] {
    return [...this.#tabs.values()].flatMap((tab) =>
      [...tab.outlets].map((outlet): [Outlet, Tab] => [outlet, tab]),
    );
  }

  #dropUseless(tab: Tab): void {
    for (const outlet of tab.takeUseless()) {
      this.#leaveRooms(outlet);
      outlet.close();
    }
  }
}

/** The session has moved to another connection: the tab does the same, beside its old link. */
const COME_AGAIN = { push: { goAway: { deadlineMs: 0, successor: "", reason: "" } } };
/** Locks tell of the end of a worker; one that hangs does not answer. */
const HEARTBEAT = 25_000;
/** For this long the same news of the network is that of another tab. */
const SAME_NEWS = 1000;
/** Milliseconds for which a room waits for tabs that have lost their connection. */
const LINGER = 10_000;
