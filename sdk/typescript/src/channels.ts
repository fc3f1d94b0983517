/**
 * Making channels, and changing who belongs to them.
 *
 * @module
 */
import type { Client } from "./client.js";
import { exact, utf8 } from "./codec/bytes.js";
import { notAnswered, SternaError } from "./errors.js";
import { type Role, roleOf } from "./events.js";
import type { Position } from "./options.js";
import { CHANNEL_ACCESS, CHANNEL_KIND, type ChannelInfo, ROLE } from "./wire/schema.js";

/** What a channel is for: `direct` (two users, named `dm:USER:USER`), `group`, `broadcast`. */
export type ChannelKind = Exclude<(typeof CHANNEL_KIND)[number], "unspecified">;

/** Who may read and publish: members, or whoever's access token allows it. */
export type ChannelAccess = Exclude<(typeof CHANNEL_ACCESS)[number], "unspecified">;

/** A user who belongs to a channel. */
export interface Member {
  readonly user: string;
  readonly role: Role;
}

/** How a channel is made. */
export interface CreateOptions {
  /** A group by default. */
  readonly kind?: ChannelKind;
  /** Members by default. */
  readonly access?: ChannelAccess;
  /** The first members, beside the one who makes the channel. */
  readonly members?: readonly Member[];
}

/** A channel as the server describes it. */
export interface Channel {
  readonly channel: string;
  readonly kind: (typeof CHANNEL_KIND)[number];
  readonly access: (typeof CHANNEL_ACCESS)[number];
  /** In milliseconds since 1970. */
  readonly createdAt: number;
  /** The newest publication; offset 0 while there is none. */
  readonly head: Position;
  readonly members: number;
  /** This call made it. */
  readonly created: boolean;
}

/** The name of the direct channel of two users; the same whichever is named first. */
export function directChannel(one: string, other: string): string {
  const order = compareBytes(utf8(one), utf8(other));
  if (order === 0) throw new SternaError("BAD_REQUEST", "a direct channel has two different users");
  return order < 0 ? `dm:${one}:${other}` : `dm:${other}:${one}`;
}

/** As nodes order names: by the bytes of their UTF-8. */
function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    const difference = (a[at] as number) - (b[at] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Makes a channel, or describes it when it is there already and looks the same. */
export async function createChannel(
  client: Client,
  channel: string,
  { kind = "group", access = "members", members = [] }: CreateOptions = {},
): Promise<Channel> {
  const createChannel = {
    channel,
    kind: CHANNEL_KIND.indexOf(kind),
    access: CHANNEL_ACCESS.indexOf(access),
    members: members.map(({ user, role }) => ({ user, role: ROLE.indexOf(role) })),
  };
  const reply = await client.call({ createChannel });
  if (!reply.channel) throw notAnswered("createChannel");
  return describe(reply.channel);
}

function describe(wire: ChannelInfo): Channel {
  return {
    channel: wire.channel,
    kind: CHANNEL_KIND[wire.kind] ?? "unspecified",
    access: CHANNEL_ACCESS[wire.access] ?? "unspecified",
    createdAt: exact(wire.createdAtMs),
    head: { epoch: wire.epoch, offset: exact(wire.headOffset) },
    members: wire.members,
    created: wire.created,
  };
}

/** Adds a member or changes its role. */
export async function setMember(
  client: Client,
  channel: string,
  { user, role }: Member,
): Promise<void> {
  await client.call({ setMember: { channel, member: { user, role: ROLE.indexOf(role) } } });
}

/** Removes a member. */
export async function removeMember(client: Client, channel: string, user: string): Promise<void> {
  await client.call({ removeMember: { channel, user } });
}

/** All members, in order of their names, page after page. */
export async function* members(
  client: Client,
  channel: string,
): AsyncGenerator<Member, void, void> {
  let afterUser = "";
  for (;;) {
    const { members: list } = await client.call({ members: { channel, afterUser, limit: 100 } });
    if (!list) throw notAnswered("members");
    for (const { user, role } of list.members) {
      yield { user, role: roleOf(role) ?? "reader" };
      afterUser = user;
    }
    if (!list.more || list.members.length === 0) return;
  }
}
