// The entry points beside the core, against a real node.
import { afterAll, beforeAll, expect, test } from "vitest";
import { createChannel, members, removeMember, setMember } from "../../src/channels.js";
import { history, readAll } from "../../src/history.js";
import { changeInbox, onInboxTouched, sync } from "../../src/inbox.js";
import type { Client, Present } from "../../src/index.js";
import { followPresence, presence } from "../../src/presence.js";
import { DevNode } from "../support/node.js";

const node = new DevNode();
beforeAll(() => node.start());
afterAll(() => node.stop());

async function online(user: string): Promise<Client> {
  const client = await node.client({ token: await node.token(user) });
  client.connect();
  await client.ready({ timeout: 10_000 });
  return client;
}

test("history: pages in both directions, and everything in order", async () => {
  const client = await online("alice");
  const room = client.subscribe("room:pages");
  await Promise.all(Array.from({ length: 25 }, (_, at) => room.publish(at + 1)));
  const newest = await history(room, { before: "end", limit: 10 });
  expect(newest.publications.map((each) => each.json())).toEqual([
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
  ]);
  expect([newest.head, newest.more]).toEqual([25, true]);
  const before = newest.publications[0]?.position as { epoch: number; offset: number };
  const older = await history(client, "room:pages", { before, limit: 5 });
  expect(older.publications.map((each) => each.position.offset)).toEqual([11, 12, 13, 14, 15]);
  const all = [];
  for await (const each of readAll(client, "room:pages", { limit: 10 })) all.push(each.json());
  expect(all).toEqual(Array.from({ length: 25 }, (_, at) => at + 1));
});

test("a call that is aborted rejects with the reason of its signal", async () => {
  const client = await online("alice");
  const aborted = new AbortController();
  const reading = history(client, "room:pages", { signal: aborted.signal });
  aborted.abort(new Error("not wanted"));
  await expect(reading).rejects.toThrow("not wanted");
  await expect(history(client, "room:pages", { signal: aborted.signal })).rejects.toThrow(
    "not wanted",
  );
});

test("presence: who comes and goes is told, and can be asked", async () => {
  const [alice, bob] = await Promise.all([online("alice"), online("bob")]);
  const room = alice.subscribe("room:here", { presence: true });
  const lists: string[] = [];
  const end = followPresence(room, (list: readonly Present[]) => {
    lists.push(list.map(({ user }) => user).join());
  });
  const seen = (list: string) => waitFor(() => lists.at(-1) === list);
  await seen("alice");
  const other = bob.subscribe("room:here", { presence: true });
  await seen("alice,bob");
  const { members: here, total } = await presence(bob, "room:here");
  expect(here.map(({ user, state }) => `${user} ${state}`).sort()).toEqual([
    "alice online",
    "bob online",
  ]);
  expect(total).toBe(2);
  other.unsubscribe();
  await seen("alice");
  end();
});

test("channels: members are made, read and removed; receipts tell how far they have read", async () => {
  const [alice, bob] = await Promise.all([online("alice"), online("bob")]);
  const made = await createChannel(alice, "group:1", {
    members: [{ user: "bob", role: "member" }],
  });
  expect(made).toMatchObject({ channel: "group:1", kind: "group", created: true });
  await setMember(alice, "group:1", { user: "carol", role: "reader" });
  const list = [];
  for await (const member of members(alice, "group:1")) list.push(`${member.user} ${member.role}`);
  expect(list).toEqual(["alice owner", "bob member", "carol reader"]);
  const room = alice.subscribe("group:1", { from: "earliest", receipts: true });
  const receipts: string[] = [];
  room.on("receipt", ({ user, read }) => receipts.push(`${user} ${read}`));
  const { position } = await alice.publish("group:1", "read this");
  await bob.markRead("group:1", position.offset);
  await waitFor(() => receipts.includes(`bob ${position.offset}`));
  await removeMember(alice, "group:1", "carol");
  await expect(
    bob.call({ setMember: { channel: "group:1", member: { user: "x", role: 2 } } }),
  ).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
});

test("inbox: a member who was away finds what is new, and hears of more", async () => {
  const [alice, bob] = await Promise.all([online("alice"), online("bob")]);
  await createChannel(alice, "group:news", { members: [{ user: "bob", role: "member" }] });
  await alice.publish("group:news", "1");
  let touched = 0;
  const end = onInboxTouched(bob, () => touched++);
  const entryOf = async () => {
    const { entries, position } = await sync(bob, undefined, true);
    return { entry: entries.find(({ channel }) => channel === "group:news"), position };
  };
  let found = await entryOf();
  await waitFor(async () => {
    found = await entryOf();
    return (found.entry?.unread ?? 0) >= 1;
  });
  const before = touched;
  await alice.publish("group:news", "2");
  await waitFor(() => touched > before);
  await waitFor(async () => (await entryOf()).entry?.unread === (found.entry?.unread ?? 0) + 1);
  await changeInbox(bob, "group:news", { muted: true, pinned: false });
  expect((await entryOf()).entry).toMatchObject({ muted: true, pinned: false });
  end();
});

async function waitFor(condition: () => boolean | Promise<boolean>): Promise<void> {
  const until = Date.now() + 15_000;
  while (!(await condition())) {
    if (Date.now() > until) throw new Error(`never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
