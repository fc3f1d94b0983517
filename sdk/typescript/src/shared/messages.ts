// What passes between a tab and the worker that holds the connection for it. Inside, tab and worker speak the
// frames of the wire: to a tab the worker is an edge. What an edge has no frame for (whose session it is, who
// gives tokens, what the page hears of the network) stands beside them.

import type { NetworkChange } from "../driver/steps.js";
import type { SternaError } from "../errors.js";
import type { ClientOptions, TokenReason } from "../options.js";
import type { LinkEnd, Outgoing, TransportName } from "../transport/link.js";
import { ERRORS, FIRST_ERROR } from "../wire/codes.js";
import type { Frame, Error as WireError } from "../wire/schema.js";

/** Of these messages; a worker of another version refuses the tab. */
export const VERSION = 1;

/** Options of a client that the worker's one is made with: those of the first tab. */
export type SharedOptions = Pick<
  ClientOptions,
  "certificateHashes" | "clientId" | "commandTimeout" | "transports" | "userAgent"
>;

/** The first message of a port. */
export interface Join {
  readonly version: number;
  /** Names the tab, and the lock that it holds for as long as it lives. */
  readonly tab: string;
  readonly address: string;
  /** Whose session it is: tabs share a client by address and subject. */
  readonly subject: string;
  readonly options: SharedOptions;
}

/** What a tab says. */
export type FromTab =
  | { readonly join: Join }
  /** `numbers`: under which a worker has published before what is published here, in the same order. */
  | {
      readonly commands: readonly Outgoing["command"][];
      readonly numbers?: readonly (Numbered | undefined)[];
    }
  /** So much of what was pushed has been read. */
  | { readonly took: Load }
  | { readonly answer: { readonly ask: number; readonly token: string } }
  | { readonly answer: { readonly ask: number; readonly error: PackedError } }
  | { readonly network: NetworkChange }
  /** The page is in the background; its connection may go after so many milliseconds. */
  | { readonly away: number }
  | { readonly back: true }
  /** The link is closed; the port stays for what the worker may have to say. */
  | { readonly leave: true };

/** What the worker says. */
export type FromWorker =
  /**
   * `worker`: the name of the lock that the worker holds for as long as it lives; `clientId`: of its client.
   */
  | { readonly open: true; readonly worker: string; readonly clientId: string }
  /** What was published, before it leaves. */
  | { readonly numbered: Numbered }
  | { readonly frames: readonly Frame[]; readonly pushed: Load; readonly over?: TransportName }
  /** So many commands have been read. */
  | { readonly read: number }
  | { readonly ended: LinkEnd }
  /** There is a connection again: who waits to try, tries now. */
  | { readonly up: true }
  | { readonly ask: number; readonly reason: TokenReason; readonly clientId: string }
  /** The token is of no use any more. */
  | { readonly forget: number };

/** Under which number, of which client id, a publication is published: by that the server knows it again. */
export interface Numbered {
  /** Its message id. */
  readonly message: string;
  readonly clientId: string;
  readonly seq: number;
}

/** What waits in a port, where nobody can look. */
export interface Load {
  readonly frames: number;
  readonly bytes: number;
}

/** An error as it crosses a port. */
export interface PackedError {
  readonly code: SternaError["code"];
  readonly message: string;
  readonly retryable: boolean;
  readonly retryAfter: number | undefined;
}

/** The name of the lock that a tab or a worker of this name holds. */
export const lockOf = (name: string): string => `sterna-${name}`;

/** What tabs share a client by. */
export const keyOf = ({ address, subject }: Join): string => JSON.stringify([address, subject]);

/**
 * The name of the lock that tabs hold together while a worker has a client for them. The next worker finds there,
 * should that one die, under which id it has to go on.
 */
export const clientLockOf = (worker: string, clientId: string, key: string): string =>
  [CLIENT_LOCK, worker, clientId, key].join(" ");

/** The client id under which a dead worker has had a client for this key, if a tab of it lives. */
export function orphanOf(held: readonly LockInfo[], key: string): string | undefined {
  for (const { name = "" } of held) {
    const [mark, worker = "", clientId, ...rest] = name.split(" ");
    const isOurs = mark === CLIENT_LOCK && rest.join(" ") === key;
    // Those who wait for the end of a worker share its lock for a moment.
    const lives = (each: LockInfo) => each.name === lockOf(worker) && each.mode === "exclusive";
    if (isOurs && !held.some(lives)) return clientId;
  }
  return undefined;
}

const CLIENT_LOCK = "sterna-client";

/** An error as a server would say it; what only clients know is `UNKNOWN` to the tab, with its message. */
export function toWire({ code, message, retryable, retryAfter }: SternaError): WireError {
  // A full queue of the worker is a busy edge to the tab: it tries again, in order.
  const name = code === "QUEUE_FULL" ? "BUSY" : code;
  const found = ERRORS.findIndex((known) => known.replace("!", "") === name);
  return {
    code: found < 0 ? 0 : FIRST_ERROR + found,
    name,
    message,
    retryable,
    retryAfterMs: retryAfter ?? 0,
  };
}

/**
 * Pushes that wait in the port of one tab. Above, publications are left out and the tab is told of a gap when
 * it has read half, which it fills from its own position; ephemerals and presence are lost to it.
 */
export const PORT_FRAMES = 512;
/** As {@link PORT_FRAMES}, in bytes of payload. */
export const PORT_BYTES = 1024 * 1024;
/** Commands of one tab that wait in its port; above, the others wait in its session. */
export const PORT_COMMANDS = 256;
/** Numbers that a tab keeps of what it has on its way; above, the oldest is forgotten. */
export const NUMBERS = 256;
/** Tabs of one client; to a further one the worker is an edge that has no room. */
export const TABS = 256;
