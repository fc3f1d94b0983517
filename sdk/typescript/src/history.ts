/**
 * Reading what a channel holds: pages, and all of it in order.
 *
 * @module
 */

import { checked, natural } from "./checks.js";
import type { Client } from "./client.js";
import { exact } from "./codec/bytes.js";
import { notAnswered } from "./errors.js";
import { Publication } from "./events.js";
import type { Position } from "./options.js";
import type { Subscription } from "./subscription.js";

/** Which page of a channel to read. */
export interface HistoryOptions {
  /** What follows this position; by default from the beginning of the channel. */
  readonly since?: Position;
  /** What lies before this position, or before the end, instead of what follows. */
  readonly before?: Position | "end";
  /** Publications at most; 100 by default. The server has a limit of its own, by number and by size. */
  readonly limit?: number;
  /** Aborts the reading; the call rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** A page of a channel, oldest first. */
export interface Page {
  readonly publications: readonly Publication[];
  /** The epoch of the channel now. */
  readonly epoch: number;
  /** The last offset of the channel. */
  readonly head: number;
  /** There is more in the direction of reading. */
  readonly more: boolean;
}

/** Reads a page of the channel of a subscription. */
export function history(room: Subscription, options?: HistoryOptions): Promise<Page>;
/** Reads a page of a channel. */
export function history(client: Client, channel: string, options?: HistoryOptions): Promise<Page>;
export async function history(
  from: Client | Subscription,
  second?: string | HistoryOptions,
  third?: HistoryOptions,
): Promise<Page> {
  const [client, channel, options = {}] =
    typeof second === "string"
      ? [from as Client, second, third]
      : [(from as Subscription).client, (from as Subscription).channel, second];
  const { since, before, limit = 100, signal } = options;
  const backwards = before !== undefined;
  natural(limit, "limit");
  const position = checked(before === "end" ? undefined : (before ?? since), "position");
  const asked = { channel, since: position, limit, backwards };
  const { history: page } = await client.call({ history: asked }, { signal });
  if (!page) throw notAnswered("history");
  return {
    publications: page.publications.map((wire) => new Publication(wire)),
    epoch: page.epoch,
    head: exact(page.headOffset),
    more: page.more,
  };
}

/** Reads a channel from a position (by default its beginning) to its end, page after page. */
export async function* readAll(
  client: Client,
  channel: string,
  options: Omit<HistoryOptions, "before"> = {},
): AsyncGenerator<Publication, void, void> {
  let { since } = options;
  for (;;) {
    const page = await history(client, channel, { ...options, ...(since && { since }) });
    yield* page.publications;
    since = page.publications.at(-1)?.position;
    if (!page.more || !since) return;
  }
}
