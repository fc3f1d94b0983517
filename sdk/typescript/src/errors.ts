// The one error of this package. It says whether trying again can help; the codes of refusals are those
// of the wire.
import { ERRORS } from "./wire/codes.js";
import { isTerminal } from "./wire/reason.js";
import type { Error as WireError } from "./wire/schema.js";

/** What a server refuses a command with. */
export type RefusalCode = (typeof ERRORS)[keyof typeof ERRORS][0];

/**
 * What errors are told apart by. Beside the refusals of servers:
 *
 * - `TIMEOUT`: no answer in time; the command may or may not have been carried out.
 * - `DISCONNECTED`: there is no connection; `closeCode` is the server's, where it gave one.
 * - `QUEUE_FULL`: too much waits already; wait for some of it, or raise the limits of the outbox.
 * - `OUTBOX_STORE`: the store has not taken the publication, which is therefore not sent.
 * - `ALREADY_SUBSCRIBED`: this client holds a subscription of the channel; end the other one first.
 * - `PROTOCOL`: the server does not speak this protocol, or not correctly.
 * - `CONFIG`: an option that cannot work; the message names it.
 * - `CLOSED`: the client or the subscription has ended.
 * - `UNKNOWN`: a refusal that this version has no name for; the message is the server's.
 */
export type ErrorCode =
  | RefusalCode
  | "TIMEOUT"
  | "DISCONNECTED"
  | "QUEUE_FULL"
  | "OUTBOX_STORE"
  | "ALREADY_SUBSCRIBED"
  | "PROTOCOL"
  | "CONFIG"
  | "CLOSED"
  | "UNKNOWN";

/** What an error knows beside code and message. */
export interface ErrorDetails {
  /** The same call may succeed later without a change. */
  readonly retryable?: boolean;
  /** Milliseconds before which trying again is of no use, where the server said so. */
  readonly retryAfter?: number | undefined;
  /** The close code of the connection, where the server gave one. */
  readonly closeCode?: number | undefined;
  /** What has led to it. */
  readonly cause?: unknown;
}

/** Why something did not work. Narrow by {@link SternaError.code}. */
export class SternaError extends Error {
  override readonly name = "SternaError";
  /** The same call may succeed later without a change. */
  readonly retryable: boolean;
  /** Milliseconds before which trying again is of no use, where the server said so. */
  readonly retryAfter: number | undefined;
  /** The close code of the connection, where the server gave one. */
  readonly closeCode: number | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    details: ErrorDetails = {},
  ) {
    super(message, { cause: details.cause });
    this.retryable = details.retryable ?? RETRYABLE.includes(code);
    this.retryAfter = details.retryAfter;
    this.closeCode = details.closeCode;
  }

  /** What to do about it, for people. */
  get help(): string {
    return (
      HELP[this.code] ??
      (this.retryable ? "Try again later." : "See the message; the same again is refused again.")
    );
  }
}

const RETRYABLE: ErrorCode[] = ["TIMEOUT", "DISCONNECTED", "QUEUE_FULL", "OUTBOX_STORE"];

const HELP: { [code in ErrorCode]?: string } = {
  UNAUTHORIZED: "Supply an access token that the server accepts.",
  TOKEN_EXPIRED: "Supply `token` as a function, so that the client can ask for a fresh one.",
  PERMISSION_DENIED: "Ask for a token, or a role in the channel, that allows it.",
  TOO_LARGE: "Publish a link to it.",
  TIMEOUT: "Check the connection, or raise `commandTimeout`.",
  QUEUE_FULL: "Wait for earlier ones, or raise the limits of `outbox`.",
  ALREADY_SUBSCRIBED: "Use the subscription that is there, or unsubscribe it first.",
  CLOSED: "Make a new client, or a new subscription.",
};

/** How a server refused a command. */
export function refusal(error: WireError): SternaError {
  const [code, retryable] = ERRORS[error.code as keyof typeof ERRORS] ?? [
    "UNKNOWN",
    error.retryable,
  ];
  const message = error.message || error.name || `refused with code ${error.code}`;
  return new SternaError(code, message, { retryable, retryAfter: error.retryAfterMs || undefined });
}

/** There is no connection, with what is known of its end. */
export function disconnected(reason: string, closeCode?: number): SternaError {
  const retryable = closeCode === undefined || !isTerminal(closeCode);
  const code = closeCode === undefined ? "" : ` (close code ${closeCode})`;
  return new SternaError("DISCONNECTED", `not connected${code}: ${reason}`, {
    retryable,
    closeCode,
  });
}

/** An option that cannot work. */
export function badOption(message: string): SternaError {
  return new SternaError("CONFIG", message);
}
