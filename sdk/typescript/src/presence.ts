/**
 * Who is in a channel: asked once, or kept up to date.
 *
 * @module
 */
import type { Client } from "./client.js";
import { notAnswered } from "./errors.js";
import { type Present, presentOf } from "./events.js";
import type { Subscription } from "./subscription.js";

/** Who is in a channel now. */
export interface PresenceList {
  readonly members: readonly Present[];
  /** Users in all, when `members` had to be cut. */
  readonly total: number;
}

/** Asks who is in a channel now. */
export async function presence(
  client: Client,
  channel: string,
  options: { signal?: AbortSignal } = {},
): Promise<PresenceList> {
  const { presence: list } = await client.call({ presence: { channel } }, options);
  if (!list) throw notAnswered("presence");
  return { members: list.members.map(presentOf), total: list.total };
}

/**
 * Keeps the list of who is in the channel of a subscription that was made with `presence: true` and is read
 * by listeners. `onChange` is called with the whole list, by name, whenever it has changed; the list is
 * asked for anew when changes were missed. Returns what ends it.
 */
export function followPresence(
  room: Subscription,
  onChange: (members: readonly Present[]) => void,
): () => void {
  const members = new Map<string, Present>();
  let generation = 0;
  /** The list is whole, but for the changes that follow. */
  let isWhole = false;
  /** Changes since the list was asked for, which may be newer than its answer. */
  let since: Present[] | undefined;
  const tell = () => {
    onChange([...members.values()].sort((a, b) => (a.user < b.user ? -1 : 1)));
  };
  const changed = (present: Present) => {
    since?.push(present);
    if (present.state === "offline") members.delete(present.user);
    else members.set(present.user, present);
  };
  const load = async () => {
    const own = ++generation;
    isWhole = false;
    const heard: Present[] = [];
    since = heard;
    const list = await presence(room.client, room.channel).catch((error) => {
      if (since === heard) since = undefined;
      throw error;
    });
    // A later question is on its way, or nobody wants to know.
    if (own !== generation) return;
    isWhole = true;
    since = undefined;
    members.clear();
    for (const present of [...list.members, ...heard]) changed(present);
    tell();
  };
  // Without an answer the changes that follow still tell; a list comes with the next connection.
  const reload = () => void load().catch(() => {});
  const ends = [
    room.on("presence", (event) => {
      changed(event);
      tell();
    }),
    room.on("presenceGap", reload),
    room.on("lagged", reload),
    room.on("state", ({ state }) => state === "subscribed" && !isWhole && !since && reload()),
  ];
  // Live already: no event is going to say so.
  if (room.isLive) reload();
  return () => {
    generation++;
    for (const end of ends) end();
  };
}
