/**
 * The user's inbox: which channels have something new, for a list of chats. What is read here is pointers;
 * publications are asked for by `history` or a subscription.
 *
 * @module
 */
import type { Client } from "./client.js";
import { exact } from "./codec/bytes.js";
import { notAnswered } from "./errors.js";
import type { Position } from "./options.js";
import { CHANNEL_KIND, type Uint64, type InboxEntry as WireEntry } from "./wire/schema.js";

/** Where a sync has got to: to be stored, and given to the next {@link sync} as it is. */
export interface InboxPosition {
  readonly pts: Uint64;
  readonly lookedMs: Uint64;
}

/** What has changed. */
export interface Inbox {
  /**
   * One for each channel; what is newest comes last. An entry stands for all that has happened in its channel
   * and replaces what was known of it.
   */
  readonly entries: readonly InboxEntry[];
  /** Where the next sync goes on. */
  readonly position: InboxPosition;
  /** The server's inbox is not the one that `since` was of: forget all that was known. */
  readonly startOver: boolean;
}

/** One channel of the inbox. */
export interface InboxEntry {
  readonly channel: string;
  readonly kind: (typeof CHANNEL_KIND)[number];
  /** The newest publication; offset 0 while there is none. */
  readonly head: Position;
  /** When that was stored, in milliseconds since 1970. */
  readonly lastTime: number;
  /** How far the user has read, on any device. */
  readonly read: number;
  /** Publications after that which the user has not deleted, edits and reactions among them. */
  readonly unread: number;
  readonly muted: boolean;
  readonly pinned: boolean;
  /** The user has deleted, for himself, what lies before. */
  readonly deletedBefore: number;
  /** Taken out of the inbox; something new brings it back. */
  readonly removed: boolean;
  /** The user is no member any more: nothing else is said. */
  readonly left: boolean;
}

/** How a channel is to stand in the inbox. What is not said stays as it is. */
export interface InboxChange {
  readonly muted?: boolean;
  readonly pinned?: boolean;
  /** Deletes, for this user, what lies before the offset. Only moves forward. */
  readonly deletedBefore?: number;
  /** Takes the channel out, until there is something new: all that is there is deleted for this user. */
  readonly remove?: boolean;
}

/**
 * What has changed in the user's inbox since an earlier sync; without one: all of it. Entries may come
 * twice. `live`: the server tells {@link onInboxTouched} of what comes after this sync.
 */
export async function sync(client: Client, since?: InboxPosition, live = false): Promise<Inbox> {
  const entries: InboxEntry[] = [];
  let position = since ?? { pts: 0, lookedMs: 0 };
  let startOver = false;
  for (;;) {
    const { inbox } = await client.call({ sync: { since: position, live } });
    if (!inbox) throw notAnswered("sync");
    if (inbox.startOver) {
      startOver = true;
      entries.length = 0;
    }
    entries.push(...inbox.entries.map(entryOf));
    position = { pts: inbox.position?.pts ?? 0, lookedMs: inbox.position?.lookedMs ?? 0 };
    if (!inbox.more) return { entries, position, startOver };
  }
}

/**
 * Hears whenever a {@link sync} may find something: something is new in a channel that this client is not
 * subscribed to, or a new connection was made, for which the next sync has to say `live` again. Returns what
 * ends the listening.
 */
export function onInboxTouched(client: Client, listener: () => void): () => void {
  return client.watchInbox(listener);
}

/** Changes how a channel stands in the user's inbox, on all of the user's devices. */
export async function changeInbox(
  client: Client,
  channel: string,
  change: InboxChange,
): Promise<void> {
  await client.call({ changeInbox: { channel, ...change } });
}

function entryOf(wire: WireEntry): InboxEntry {
  return {
    channel: wire.channel,
    kind: CHANNEL_KIND[wire.kind] ?? "unspecified",
    head: { epoch: wire.epoch, offset: exact(wire.headOffset) },
    lastTime: exact(wire.lastTsMs),
    read: exact(wire.readOffset),
    unread: exact(wire.unread),
    muted: wire.muted,
    pinned: wire.pinned,
    deletedBefore: exact(wire.deletedBefore),
    removed: wire.removed,
    left: wire.left,
  };
}
