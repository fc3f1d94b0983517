// The tab's end: each connection of its client is a port to the worker. The newest port stays when its link is
// closed, since the worker may have something to say: that there is a connection again, or that it wants a
// token.
import { SternaError, tokenExpired } from "../errors.js";
import type { TokenProvider } from "../options.js";
import type { TransportName } from "../transport/link.js";
import { broken, type Dial, type Link, type LinkEvents } from "../transport/link.js";
import type { Locks } from "./hub.js";
import { type FromTab, type FromWorker, type Join, lockOf, PORT_COMMANDS } from "./messages.js";
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
  #port: Port | undefined;
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
    const link = new PortLink(this.#setup, events, (port) => port === this.#port);
    const open = async () => {
      await this.#setup.held;
      const port = this.#setup.open((why) => link.fail(why));
      this.#port = port;
      link.begin(port, (message) => this.#onMessage(message));
    };
    open().catch((error) => link.fail(error));
    return link;
  };

  /** The tab wants nothing more. */
  close(): void {
    for (const asking of this.#asked.values()) asking.abort();
    this.#port?.close();
    this.#port = undefined;
  }

  #onMessage(message: FromWorker): void {
    if ("up" in message) this.onUp();
    else if ("ask" in message) this.#ask(message);
    else if ("forget" in message) this.#asked.get(message.forget)?.abort();
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
  readonly #setup: LineSetup;
  readonly #events: LinkEvents;
  readonly #over = new AbortController();
  readonly #isNewest: (port: Port) => boolean;
  #port: Port | undefined;
  #isOver = false;
  /** Commands that the worker has not read. */
  #unread = 0;

  constructor(setup: LineSetup, events: LinkEvents, isNewest: (port: Port) => boolean) {
    this.#setup = setup;
    this.#events = events;
    this.#isNewest = isNewest;
  }

  get isCongested(): boolean {
    return this.#unread > PORT_COMMANDS;
  }

  /** Joins at the worker. `other` hears of what is no matter of the link. */
  begin(port: Port, other: (message: FromWorker) => void): void {
    this.#port = port;
    port.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if ("frames" in data) this.#onFrames(data);
      else if ("read" in data) this.#unread -= data.read;
      else if ("open" in data) this.#onOpen(data.worker);
      else if ("ended" in data) this.#end(data.ended);
      else other(data);
    };
    if (this.#isOver) return this.#leave();
    this.#say({ join: this.#setup.join });
  }

  /** There is no way to the worker. */
  fail(error: unknown): void {
    this.#end(broken(error));
  }

  send(outgoing: Parameters<Link["send"]>[0]): void {
    if (this.#isOver) return;
    this.#unread += outgoing.length;
    this.#say({ commands: outgoing.map(({ command }) => command) });
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#over.abort();
    this.#leave();
  }

  #onFrames({ frames, pushed, over }: Extract<FromWorker, { frames: unknown }>): void {
    this.transport = over ?? this.transport;
    for (const frame of frames) this.#pass(() => this.#events.frame(frame));
    if (pushed.frames > 0) this.#say({ took: pushed });
  }

  #onOpen(worker: string): void {
    const { signal } = this.#over;
    // Given only when the worker is dead.
    const died = () => this.fail("the worker has died");
    this.#setup.locks
      .request(lockOf(worker), { mode: "shared", signal }, died)
      .catch((error) => signal.aborted || this.fail(error));
    this.#pass(() => this.#events.established());
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
    if (!this.#isNewest(port)) port.close();
  }

  #say(message: FromTab): void {
    this.#port?.postMessage(message);
  }
}
