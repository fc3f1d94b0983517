// The one error of this package. It says whether trying again can help; the codes of refusals are those
// of the wire.
import { ERRORS, type ErrorName, FIRST_ERROR } from "./wire/codes.js";
import { isTerminal } from "./wire/reason.js";
import type { Error as WireError } from "./wire/schema.js";

/** What a server refuses a command with. */
export type RefusalCode = ErrorName;

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

  /**
   * What to do about it, for people: that trying again is all there is to do, or not. What else there is, code by
   * code, it says where `@sterna/client/messages` is imported.
   */
  get help(): string {
    return (
      HELP[this.code] ??
      (this.retryable ? "Try again later." : "See the message; the same again is refused again.")
    );
  }
}

const RETRYABLE: ErrorCode[] = ["TIMEOUT", "DISCONNECTED", "QUEUE_FULL", "OUTBOX_STORE"];

/** What to do, by code; `@sterna/client/messages` fills it. @internal */
export const HELP: { [code in ErrorCode]?: string } = {};

/** How a server refused a command. */
export function refusal(error: WireError): SternaError {
  const known = ERRORS[error.code - FIRST_ERROR];
  const code = (known?.replace("!", "") ?? "UNKNOWN") as ErrorCode;
  const retryable = known ? known.endsWith("!") : error.retryable;
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

/** The answer to a verb is not one. */
export function notAnswered(verb: string): SternaError {
  return new SternaError("PROTOCOL", `${verb} was not answered as such`);
}

/** So many bytes are more than `limit`. */
export function tooLarge(bytes: number, limit: number): SternaError {
  return new SternaError("TOO_LARGE", `${bytes} bytes are above ${limit}`);
}

/** The client has ended. */
export function closed(): SternaError {
  return new SternaError("CLOSED", "the client is closed");
}

/** A token is expired for good. */
export function tokenExpired(): SternaError {
  return new SternaError("TOKEN_EXPIRED", "the token has expired, and `token` gives no other");
}

/** An option that cannot work. */
export function badOption(message: string): SternaError {
  return new SternaError("CONFIG", message);
}
