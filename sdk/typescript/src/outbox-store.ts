// Where an outbox outlives the page. The client tells a store of every change; a client that is made with
// what a store holds goes on with what no server has answered for.
import type { Publish } from "./wire/schema.js";

/** A publication that was kept. */
export interface StoredPublication {
  /** As it is sent, sequence number included. */
  readonly publish: Publish;
  /** It has left at least once: the server may have it. */
  readonly attempted: boolean;
}

/** What a store holds when it is opened. */
export interface StoredOutbox {
  /** The client id that these publications were numbered for. */
  readonly clientId: string;
  /** The highest sequence number that was ever used with it; 0 before the first. */
  readonly lastSeq: number;
  /** In order of their sequence numbers. */
  readonly publications: readonly StoredPublication[];
}

/** One change, about one sequence number. */
export type OutboxChange =
  | { readonly insert: Publish }
  | { readonly attempted: number }
  | { readonly remove: number };

/**
 * Keeps an outbox. One client at a time may use a store: two that share a client id would take each
 * other's publications for their own.
 */
export interface OutboxStore {
  /** What was there when the store was opened. */
  readonly stored: StoredOutbox;
  /**
   * Makes the changes durable, all or none, in this order. One call at a time. A rejection fails the
   * publications that were to be inserted: they are not sent.
   */
  write(changes: readonly OutboxChange[]): Promise<void>;
  /** Called once, after everything was written. */
  close(): Promise<void>;
}
