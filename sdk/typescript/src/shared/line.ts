// The tab's end: each connection of its client is a port to the worker. The newest port stays when its link is
// closed, since the worker may have something to say: that there is a connection again, or that it wants a
// token.
import { SternaError, tokenExpired } from "../errors.js";
import { uuidText } from "../events.js";
import type { TokenProvider } from "../options.js";
import type { TransportName } from "../transport/link.js";
import { broken, type Dial, type Link, type LinkEvents, type Outgoing } from "../transport/link.js";
import { hold, type Locks } from "./locks.js";
import {
  clientLockOf,
  type FromTab,
  type FromWorker,
  type Join,
  keyOf,
  lockOf,
  NUMBERS,
  type Numbered,
  PORT_COMMANDS,
} from "./messages.js";
import type { Port } from "./outlet.js";

/** What a line is made of. */
export interface LineSetup {
  readonly join: Join;
  /** Opens a port to the worker, which is started if there is none; `failed`: it cannot be. */
  readonly open: (failed: (why: unknown) => void) => Port;
  readonly token: string | TokenProvider;
  /** Settled once the tab holds its lock; only then the worker may hear of it. */
  readonly held: Promise<void>;
  readonly locks: Locks;
}

export class Line {
  readonly #setup: LineSetup;
  readonly #asked = new Map<number, AbortController>();
  /** By message id, oldest first. */
  readonly #numbers = new Map<string, Numbered>();
  /** The lock by which the next worker would go on for this one. */
  #client: { readonly name: string; readonly release: () => void } | undefined;
  #port: Port | undefined;
  #isClosed = false;
  /** Called when there is a connection again. */
  onUp = () => {};

  constructor(setup: LineSetup) {
    this.#setup = setup;
  }

  /** Says something to the worker, if there is a port to it. */
  tell(message: FromTab): void {
    this.#port?.postMessage(message);
  }

  /** A port to the worker as a connection to an edge. */
  readonly dial: Dial = (_, events) => {
    const link = new PortLink(this, this.#setup.locks, events);
    const open = async () => {
      await this.#setup.held;
      if (this.#isClosed) return;
      const port = this.#setup.open((why) => link.fail(why));
      this.#port = port;
      link.begin(port);
    };
    open().catch((error) => link.fail(error));
    return link;
  };

  /** How a port joins. */
  get join(): Join {
    return this.#setup.join;
  }

  isNewest(port: Port): boolean {
    return port === this.#port;
  }

  /** The worker has a client for this tab, which holds on to its id before it has anything published. */
  async onOpen(worker: string, clientId: string): Promise<void> {
    const name = clientLockOf(worker, clientId, keyOf(this.join));
    if (this.#client?.name === name) return;
    const { held, release } = hold(this.#setup.locks, name, "shared");
    await held;
    this.#client?.release();
    this.#client = { name, release };
  }

  /** Under which number a worker has published it already. */
  numberOf({ publish }: Outgoing["command"]): Numbered | undefined {
    return publish?.clientMsgId && this.#numbers.get(uuidText(publish.clientMsgId));
  }

  /** The tab wants nothing more. */
  close(): void {
    this.#isClosed = true;
    for (const asking of this.#asked.values()) asking.abort();
    this.#client?.release();
    this.#port?.close();
    this.#port = undefined;
  }

  /** What is no matter of a link. */
  onMessage(message: FromWorker): void {
    if ("up" in message) this.onUp();
    else if ("numbered" in message) this.#onNumbered(message.numbered);
    else if ("ask" in message) this.#ask(message);
    else if ("forget" in message) this.#asked.get(message.forget)?.abort();
  }

  #onNumbered(numbered: Numbered): void {
    this.#numbers.set(numbered.message, numbered);
    for (const oldest of this.#numbers.keys()) {
      if (this.#numbers.size <= NUMBERS) break;
      this.#numbers.delete(oldest);
    }
  }

  #ask({ ask, reason, clientId }: Extract<FromWorker, { ask: number }>): void {
    const port = this.#port;
    const asking = new AbortController();
    this.#asked.set(ask, asking);
    const { token } = this.#setup;
    const provider = typeof token === "string" ? fixed(token) : token;
    Promise.resolve()
      .then(() => provider({ reason, clientId, signal: asking.signal }))
      .then(
        (token) => port?.postMessage({ answer: { ask, token } } satisfies FromTab),
        (error) => port?.postMessage({ answer: { ask, error: packed(error) } } satisfies FromTab),
      )
      .finally(() => this.#asked.delete(ask));
  }
}

/** One token for ever: when it has expired there is no other. */
const fixed =
  (token: string): TokenProvider =>
  ({ reason }) => {
    if (reason !== "expired") return token;
    throw tokenExpired();
  };

/** What a provider has thrown; of what is no error of ours, the session goes on. */
function packed(error: unknown) {
  if (error instanceof SternaError) {
    const { code, message, retryable, retryAfter } = error;
    return { code, message, retryable, retryAfter };
  }
  const code = "UNAUTHORIZED" as const;
  return { code, message: String(error), retryable: true, retryAfter: undefined };
}

class PortLink implements Link {
  /** What carries the session in the worker, once that has said so. */
  transport: TransportName = "websocket";
  readonly #line: Line;
  readonly #locks: Locks;
  readonly #events: LinkEvents;
  readonly #over = new AbortController();
  #port: Port | undefined;
  #isOver = false;
  /** Commands that the worker has not read. */
  #unread = 0;

  constructor(line: Line, locks: Locks, events: LinkEvents) {
    this.#line = line;
    this.#locks = locks;
    this.#events = events;
  }

  get isCongested(): boolean {
    return this.#unread > PORT_COMMANDS;
  }

  /** Joins at the worker. */
  begin(port: Port): void {
    this.#port = port;
    port.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if ("frames" in data) this.#onFrames(data);
      else if ("read" in data) this.#unread -= data.read;
      else if ("open" in data) this.#onOpen(data);
      else if ("ended" in data) this.#end(data.ended);
      else this.#line.onMessage(data);
    };
    if (this.#isOver) return this.#leave();
    this.#say({ join: this.#line.join });
  }

  /** There is no way to the worker. */
  fail(error: unknown): void {
    this.#end(broken(error));
  }

  send(outgoing: Parameters<Link["send"]>[0]): void {
    if (this.#isOver) return;
    this.#unread += outgoing.length;
    const commands = outgoing.map(({ command }) => command);
    const numbers = commands.map((command) => this.#line.numberOf(command));
    this.#say(numbers.some((number) => number) ? { commands, numbers } : { commands });
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#over.abort();
    this.#leave();
  }

  #onFrames({ frames, pushed, over }: Extract<FromWorker, { frames: unknown }>): void {
    this.transport = over ?? this.transport;
    this.#pass(() => this.#events.frames(frames));
    if (pushed.frames > 0) this.#say({ took: pushed });
  }

  #onOpen({ worker, clientId }: Extract<FromWorker, { open: true }>): void {
    const { signal } = this.#over;
    // Given only when the worker is dead. What it has said before may still be on its way, by another one.
    const died = () => {
      setTimeout(() => this.fail("the worker has died"), LAST_WORDS);
    };
    this.#locks
      .request(lockOf(worker), { mode: "shared", signal }, died)
      .catch((error) => signal.aborted || this.fail(error));
    this.#line.onOpen(worker, clientId).then(
      () => this.#pass(() => this.#events.established()),
      (error) => this.fail(error),
    );
  }

  #pass(event: () => void): void {
    if (!this.#isOver) event();
  }

  #end(end: Parameters<LinkEvents["ended"]>[0]): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#over.abort();
    this.#events.ended(end);
  }

  #leave(): void {
    const port = this.#port;
    if (!port) return;
    this.#say({ leave: true });
    if (!this.#line.isNewest(port)) port.close();
  }

  #say(message: FromTab): void {
    this.#port?.postMessage(message);
  }
}

/** Milliseconds for the last messages of a worker that has died. */
const LAST_WORDS = 100;
