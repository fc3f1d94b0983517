/**
 * Client for Sterna, the real-time messaging gateway.
 *
 * A {@link Client} keeps one session with a cluster over whichever transport works (WebTransport where it is
 * sound, WebSocket beside it) and moves that session between connections without the application noticing:
 * publications arrive exactly once and in order per channel, and what is published is kept and sent again
 * until the server has answered for it.
 *
 * @module
 */
export { Client, type ClientEvents, type PublishOptions } from "./client.js";
export type { Content } from "./content.js";
export type { NetworkChange } from "./driver/steps.js";
export { type ErrorCode, type ErrorDetails, type RefusalCode, SternaError } from "./errors.js";
export {
  type ClientState,
  type Connected,
  Ephemeral,
  type Gap,
  Payload,
  type Present,
  Publication,
  type Role,
  type SendState,
  type Statistics,
  type Stored,
  type SubscriptionEvent,
  type SubscriptionState,
} from "./events.js";
export type {
  Activity,
  ClientOptions,
  OutboxOptions,
  Position,
  SubscribeOptions,
  TokenProvider,
  TokenReason,
  TokenRequest,
} from "./options.js";
export type { OutboxChange, OutboxStore, StoredOutbox, StoredPublication } from "./outbox-store.js";
export type { Send } from "./send.js";
export type { Verb } from "./session/calls.js";
export type { Network } from "./session/network.js";
export type { Subscription, SubscriptionEvents } from "./subscription.js";
export type {
  TransportName,
  WebSocketConstructor,
  WebTransportConstructor,
} from "./transport/link.js";
export type * as wire from "./wire/schema.js";
