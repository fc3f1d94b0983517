/**
 * One connection for all tabs of an origin, held by a SharedWorker. What an application gets is a
 * {@link Client} as any other: with its own subscriptions, its own positions, its own queues. Only its
 * connection leads to the worker, which has the one to the node.
 *
 * ```ts
 * import { shareClient } from "@sterna/client/worker";
 * const client = shareClient("https://edge.example.com", {
 *   worker: () => new SharedWorker(new URL("./sterna-worker.js", import.meta.url), { type: "module" }),
 *   subject: "alice",
 *   token,
 * });
 * ```
 *
 * @module
 */
import { BACKGROUND_GRACE, Client } from "./client.js";
import type { NetworkChange } from "./driver/steps.js";
import { badOption } from "./errors.js";
import { newUuid, uuidText } from "./events.js";
import type { ClientOptions, OutboxOptions } from "./options.js";
import { Line, type LineSetup } from "./shared/line.js";
import { hold, type Locks } from "./shared/locks.js";
import { lockOf, VERSION } from "./shared/messages.js";

/** How a client is made that shares its connection. */
export interface SharedClientOptions extends Omit<ClientOptions, "outbox"> {
  /**
   * Starts the worker, or finds the one that runs: the same script and name in all tabs. The script imports
   * `@sterna/client/shared-worker`.
   */
  readonly worker: () => SharedWorker;
  /**
   * Whose session it is, in any words that name the user: tabs share a connection by address and subject. A
   * connection has the rights of one token, so two users have two subjects.
   */
  readonly subject: string;
  /** Bounds of the outbox of this tab. It has no store: that belongs to one client. */
  readonly outbox?: Omit<OutboxOptions, "store">;
}

/**
 * A client whose connection all tabs share that name the same address and subject. Where there is no
 * SharedWorker, or there are no locks by which a worker could hear of the end of a tab, it has a connection
 * of its own. Options of the connection (`transports`, `certificateHashes`, `clientId`, `commandTimeout`,
 * `userAgent`) are those of the tab that came first; `webSocket` and `webTransport` are of use only to a
 * connection of one's own. Throws as the constructor of {@link Client}.
 */
export function shareClient(address: string, options: SharedClientOptions): Client {
  const { worker, subject, ...own } = options;
  if ((own.outbox as OutboxOptions | undefined)?.store) {
    throw badOption("a shared client has no outbox store");
  }
  const locks = globalThis.navigator?.locks;
  if (!globalThis.SharedWorker || !locks) return new Client(address, own);
  const open: LineSetup["open"] = (failed) => {
    const running = worker();
    running.onerror = () => failed("the script of the worker cannot be run");
    return running.port;
  };
  return connectThrough(open, locks, address, subject, own);
}

/** A client over ports that `open` opens. @internal */
export function connectThrough(
  open: LineSetup["open"],
  locks: Locks,
  address: string,
  subject: string,
  options: ClientOptions,
): Client {
  const { certificateHashes, clientId, commandTimeout, transports, userAgent } = options;
  const shared = { certificateHashes, clientId, commandTimeout, transports, userAgent };
  const tab = uuidText(newUuid(Date.now()));
  const { held, release } = hold(locks, lockOf(tab), "exclusive");
  const line = new Line({
    join: { version: VERSION, tab, address, subject, options: definedOnly(shared) },
    open,
    token: options.token ?? "",
    held,
    locks,
  });
  try {
    return new TabClient(line, release, address, options);
  } catch (error) {
    release();
    throw error;
  }
}

/** A client of a tab, which passes on to the worker what the page hears of itself. */
class TabClient extends Client {
  readonly #line: Line;
  readonly #release: () => void;

  constructor(line: Line, release: () => void, address: string, options: ClientOptions) {
    super(address, { ...options, token: "", dials: new Map([["websocket", line.dial]]) });
    this.#line = line;
    this.#release = release;
    line.onUp = () => super.networkChanged("wake");
  }

  override networkChanged(change: NetworkChange = "path"): void {
    this.#line.tell({ network: change });
    // Of the way to the worker no news of the network is news.
    super.networkChanged("wake");
  }

  override background(grace = BACKGROUND_GRACE): void {
    this.#line.tell({ away: grace });
    super.background(grace);
  }

  override foreground(): void {
    this.#line.tell({ back: true });
    super.foreground();
  }

  override async dispose(): Promise<void> {
    await super.dispose();
    this.#line.close();
    this.#release();
  }
}

/** A property that is there and `undefined` is another option than none. */
function definedOnly<Options extends object>(options: Options) {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Name in keyof Options]?: NonNullable<Options[Name]> };
}
