/**
 * What to do about errors, for people: importing it lets `SternaError.help` say more than that trying again
 * helps, or does not. For development, and for applications that show it.
 *
 * ```ts
 * import "@sterna/client/messages";
 * ```
 *
 * @module
 */
import { type ErrorCode, HELP } from "./errors.js";

/** What to do, by code. */
export const MESSAGES: { readonly [code in ErrorCode]?: string } = {
  UNAUTHORIZED: "Supply an access token that the server accepts.",
  TOKEN_EXPIRED: "Supply `token` as a function, so that the client can ask for a fresh one.",
  PERMISSION_DENIED: "Ask for a token, or a role in the channel, that allows it.",
  BAD_REQUEST:
    "See the message. A channel has 1 to 128 bytes of letters, digits and any of `-_.@+=:/#`; a subscription is read by one loop, or by listeners.",
  TOO_LARGE: "Publish a link to it, or raise the limits of `outbox` where it is those.",
  TIMEOUT: "Check the connection, or raise `commandTimeout`.",
  QUEUE_FULL: "Wait for earlier ones, or raise the limits of `outbox`.",
  CONFIG:
    "See the message. An address is `sterna://HOST:PORT` or `https://HOST:PORT`; a client id has 1 to 64 bytes of letters, digits and any of `-_.@+=:`; in Node before 22 there is no WebSocket but that of `@sterna/client/node`.",
  ALREADY_SUBSCRIBED: "Use the subscription that is there, or unsubscribe it first.",
  CLOSED: "Make a new client, or a new subscription.",
};

Object.assign(HELP, MESSAGES);
