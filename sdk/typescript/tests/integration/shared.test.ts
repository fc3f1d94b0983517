// Tabs that share one connection to a real node.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { history, readAll } from "../../src/history.js";
import { onInboxTouched, sync } from "../../src/inbox.js";
import type { Present, Send, Subscription } from "../../src/index.js";
import { followPresence, presence } from "../../src/presence.js";
import { DevNode } from "../support/node.js";
import { type FakeTab, Origin } from "../support/origin.js";

let node: DevNode;
let origin: Origin;

beforeEach(async () => {
  node = new DevNode();
  await node.start();
  origin = new Origin({ webSocket: node.webSocket() });
});
afterEach(async () => {
  await origin.end();
  await node.stop();
});

const until = (look: () => unknown, timeout = 30_000) =>
  vi.waitFor(
    async () => {
      if (!(await look())) throw new Error(`never: ${look}`);
    },
    { timeout, interval: 20 },
  );

async function tabs(count: number, user = "alice"): Promise<FakeTab[]> {
  const token = await node.token(user);
  const { address } = node;
  const outbox = { publications: 10_000 };
  const made = Array.from({ length: count }, () =>
    origin.open({ address, subject: user, token, outbox }),
  );
  for (const { client } of made) client.connect();
  await Promise.all(made.map(({ client }) => client.ready({ timeout: 20_000 })));
  return made;
}

function read(room: Subscription): { offsets: number[]; gaps: unknown[] } {
  const seen = { offsets: [] as number[], gaps: [] as unknown[] };
  room.on("publication", ({ position }) => seen.offsets.push(position.offset));
  room.on("gap", (gap) => seen.gaps.push(gap));
  return seen;
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const upTo = (count: number) => Array.from({ length: count }, (_, at) => at + 1);
const connections = () => node.metric("sterna_edge_connections_active");

test("i13 1,000 publications reach two tabs, complete and in order, over one connection", async () => {
  const two = await tabs(2);
  const seen = two.map(({ client }) => read(client.subscribe("room:1", { from: "earliest" })));
  const writer = two[0]?.client;
  const sends = [];
  for (const line of upTo(1000)) {
    sends.push(await writer?.publish("room:1", line).then(({ position }) => position.offset));
    if (line === 500) expect(await connections()).toBe(1);
  }
  await until(() => seen.every(({ offsets }) => offsets.length >= 1000));
  expect(sends).toEqual(upTo(1000));
  for (const { offsets, gaps } of seen) expect([offsets, gaps]).toEqual([upTo(1000), []]);
  const late = (await tabs(1))[0]?.client.subscribe("room:1", { from: "earliest" });
  const lateSeen = read(late as Subscription);
  await until(() => lateSeen.offsets.length >= 1000);
  expect([lateSeen.offsets, lateSeen.gaps]).toEqual([upTo(1000), []]);
  expect(await connections()).toBe(1);
}, 60_000);

test("i13 a frozen tab recovers what it missed, and the other one did not wait", async () => {
  const [slow, quick] = (await tabs(2)) as [FakeTab, FakeTab];
  const rooms = [slow, quick].map(({ client }) => client.subscribe("room:1", { from: "earliest" }));
  const [slowSeen, quickSeen] = rooms.map(read) as [
    ReturnType<typeof read>,
    ReturnType<typeof read>,
  ];
  await until(() => rooms.every(({ isLive }) => isLive));
  slow.freeze();
  const count = 2000;
  const writer = await node.client({ outbox: { publications: count } });
  writer.connect();
  const sends = upTo(count).map((line) => writer.publish("room:1", line));
  await Promise.all(sends);
  await until(() => quickSeen.offsets.length >= count);
  expect(slowSeen.offsets.length).toBe(0);
  slow.thaw();
  await until(() => slowSeen.offsets.length >= count);
  expect([quickSeen.offsets, quickSeen.gaps]).toEqual([upTo(count), []]);
  expect([slowSeen.offsets, slowSeen.gaps]).toEqual([upTo(count), []]);
}, 90_000);

test("i1, i13 a node that is killed loses and doubles nothing for any tab", async () => {
  const two = (await tabs(2)) as [FakeTab, FakeTab];
  const seen = two.map(({ client }) => read(client.subscribe("room:1", { from: "earliest" })));
  const sends = upTo(200).map((line) => two[line % 2]?.client.publish("room:1", line));
  await until(() => sends.filter((send) => send?.state.name === "acked").length > 20);
  await node.kill();
  await until(() => two.every(({ client }) => client.state.name !== "connected"));
  await node.start();
  await Promise.all(sends);
  await until(() => seen.every(({ offsets }) => offsets.length >= 200));
  for (const { offsets, gaps } of seen) expect([offsets, gaps]).toEqual([upTo(200), []]);
  expect(two.map(({ client }) => client.state.name)).toEqual(["connected", "connected"]);
}, 90_000);

test("i1, i13 a worker that dies loses and doubles nothing, and tabs keep their order", async () => {
  const two = (await tabs(2)) as [FakeTab, FakeTab];
  const seen = two.map(({ client }) => read(client.subscribe("room:1", { from: "earliest" })));
  const sends = upTo(400).map((line) => two[line % 2]?.client.publish("room:1", line));
  for (const least of [20, 150, 300]) {
    await until(() => sends.filter((send) => send?.state.name === "acked").length > least);
    origin.crash();
  }
  await Promise.all(sends);
  await until(() => seen.every(({ offsets }) => offsets.length >= 400));
  for (const { offsets, gaps } of seen) expect([offsets, gaps]).toEqual([upTo(400), []]);
  const lines: number[] = [];
  for await (const each of readAll(two[0].client, "room:1")) lines.push(each.json());
  for (const tab of [0, 1]) {
    expect(lines.filter((line) => line % 2 === tab)).toEqual(
      upTo(400).filter((line) => line % 2 === tab),
    );
  }
}, 90_000);

test("i1 a worker without room refuses, and tabs keep their order", async () => {
  const narrow = new Origin({ webSocket: node.webSocket(), outbox: { publications: 8 } });
  const token = await node.token();
  const outbox = { publications: 1000 };
  const two = [0, 1].map(() => narrow.open({ address: node.address, token, outbox }));
  try {
    for (const { client } of two) client.connect();
    await Promise.all(two.map(({ client }) => client.ready({ timeout: 20_000 })));
    const sends = upTo(200).map((line) => two[line % 2]?.client.publish("room:1", line));
    await Promise.all(sends);
    const lines: number[] = [];
    for await (const each of readAll((two[0] as FakeTab).client, "room:1")) lines.push(each.json());
    for (const tab of [0, 1]) {
      expect(lines.filter((line) => line % 2 === tab)).toEqual(
        upTo(200).filter((line) => line % 2 === tab),
      );
    }
  } finally {
    await narrow.end();
  }
}, 120_000);

test.each([1, 2, 3])(
  "i1, i13 whatever happens to tabs, worker and node, each tab reads on in order (seed %d)",
  async (seed) => {
    const chance = random(seed);
    const seen: { offsets: number[]; gaps: unknown[]; tab: FakeTab }[] = [];
    const come = async () => {
      const [tab] = (await tabs(1)) as [FakeTab];
      seen.push({ ...read(tab.client.subscribe("room:1", { from: "earliest" })), tab });
    };
    await come();
    await come();
    const writer = await node.client({ outbox: { publications: 10_000 } });
    writer.connect();
    const sends: Send[] = [];
    for (let step = 0; step < 40; step++) {
      const { tab } = seen[Math.floor(chance() * seen.length)] as (typeof seen)[0];
      const publisher = chance() < 0.5 || tab.isFrozen ? writer : tab.client;
      for (let at = 0; at < 40; at++) sends.push(publisher.publish("room:1", sends.length));
      const what = Math.floor(chance() * 8);
      // Whoever is frozen does nothing.
      if (tab.isFrozen) tab.thaw();
      if (what === 0) origin.crash();
      else if (what === 1) tab.freeze();
      else if (what === 2) for (const each of seen) each.tab.thaw();
      else if (what === 3 && seen.length < 5) await come();
      else if (what === 4) tab.client.background(0);
      else if (what === 5) tab.client.foreground();
      else if (what === 6 && step % 3 === 0) {
        await node.kill();
        await node.start();
      } else {
        await new Promise((resolve) => setTimeout(resolve, 30 * chance()));
      }
    }
    for (const { tab } of seen) {
      tab.thaw();
      tab.client.foreground();
    }
    await Promise.all(sends);
    await until(() => seen.every(({ offsets }) => offsets.length >= sends.length), 60_000);
    for (const { offsets, gaps } of seen) expect([offsets, gaps]).toEqual([upTo(sends.length), []]);
    const lines: number[] = [];
    for await (const each of readAll(writer, "room:1")) lines.push(each.json());
    expect(lines.sort((a, b) => a - b)).toEqual(sends.map((_, at) => at));
  },
  180_000,
);

test("history, presence and the inbox are asked through the worker as through any client", async () => {
  const [one, other] = (await tabs(2)).map(({ client }) => client) as [
    FakeTab["client"],
    FakeTab["client"],
  ];
  const room = one.subscribe("room:1", { presence: true });
  const lists: (readonly Present[])[] = [];
  followPresence(room, (members) => lists.push(members));
  await until(() => room.isLive);
  for (const line of upTo(5)) await room.publish(line);
  const page = await history(room, { before: "end", limit: 2 });
  expect(page.publications.map((each) => each.json())).toEqual([4, 5]);
  const all = [];
  for await (const each of readAll(other, "room:1")) all.push(each.json());
  expect(all).toEqual(upTo(5));
  expect((await presence(other, "room:1")).members.map(({ user }) => user)).toEqual(["alice"]);
  const bob = await node.client({ token: await node.token("bob") });
  bob.connect();
  bob.subscribe("room:1", { presence: true });
  await until(() => lists.at(-1)?.some(({ user }) => user === "bob"));
  let touched = 0;
  onInboxTouched(other, () => touched++);
  await sync(other, undefined, true);
  await bob.publish("dm:alice:bob", "psst");
  await until(() => touched > 0);
}, 60_000);

test("i11 whose token is revoked hears of it in every tab, and stays away", async () => {
  const two = await tabs(2, "mallory");
  await node.cli("revoke", "mallory");
  for (const { client } of two) {
    await until(() => client.state.name === "disconnected");
    expect(client.state).toMatchObject({ error: { code: "UNAUTHORIZED" } });
  }
  expect(origin.made).toHaveLength(1);
}, 60_000);

test("the session ends with the last tab, also when that dies", async () => {
  const two = (await tabs(2)) as [FakeTab, FakeTab];
  two[0].kill();
  const send = await two[1].client.publish("room:1", "still here");
  expect(send.position.offset).toBe(1);
  two[1].kill();
  await until(async () => (await node.metric("sterna_core_sessions")) === 0);
}, 60_000);
