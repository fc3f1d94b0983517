// One connection for many tabs: what each of them reads and publishes, and that a slow one costs the others
// nothing. The node is the test, the ports are those of the platform.
import { afterEach, beforeEach, expect, test } from "vitest";
import { SternaError, type Subscription } from "../src/index.js";
import { PORT_FRAMES } from "../src/shared/messages.js";
import { TAIL_PUBLICATIONS } from "../src/shared/tail.js";
import type { Origin } from "./support/origin.js";
import { FakeSocket } from "./support/socket.js";
import { answer, newOrigin, read, say, socketAt, tabs, take, until, upTo } from "./support/tabs.js";
import { pub } from "./support/transport.js";

let origin: Origin;
beforeEach(() => {
  origin = newOrigin();
});
afterEach(() => origin.end());

test("two tabs have one connection and one subscription, and each hears everything", async () => {
  const { tabs: two, socket } = await tabs(origin, 2);
  const rooms = two.map(({ client }) => client.subscribe("room:1"));
  const heard = rooms.map(read);
  await answer(socket);
  await until(() => rooms.every(({ isLive }) => isLive));
  say(socket, "room:1", 1, 1000);
  await until(() => heard.every(({ offsets }) => offsets.length === 1000));
  for (const { offsets, others } of heard) {
    expect(offsets).toEqual(upTo(1000));
    expect(others).toEqual([]);
  }
  expect(FakeSocket.all).toHaveLength(1);
  expect(socket.commands.filter(({ subscribe }) => subscribe)).toEqual([]);
  expect(two[0]?.client.state).toMatchObject({
    name: "connected",
    user: "alice",
    transport: "websocket",
  });
});

test("another subject has a connection of its own", async () => {
  const alice = origin.open({ token: "a", subject: "alice" });
  alice.client.connect();
  const first = await socketAt(0);
  first.open();
  expect((await take(first, "hello")).asked.accessToken).toBe("a");
  const bob = origin.open({ token: "b", subject: "bob" });
  bob.client.connect();
  const second = await socketAt(1);
  second.open();
  expect((await take(second, "hello")).asked.accessToken).toBe("b");
});

test("a tab starts at its own position: from the tail, and from the node what is older", async () => {
  const { tabs: two, socket } = await tabs(origin, 2);
  const [one, other] = two.map(({ client }) => client);
  const live = one?.subscribe("room:1") as Subscription;
  const heard = read(live);
  await answer(socket, 5);
  await until(() => live.isLive);
  say(socket, "room:1", 6, 8);
  await until(() => heard.offsets.length === 3);
  const recent = other?.subscribe("room:1", { from: { epoch: 1, offset: 6 } }) as Subscription;
  const recentHeard = read(recent);
  await until(() => recentHeard.offsets.length === 2);
  expect(recentHeard.offsets).toEqual([7, 8]);
  recent.unsubscribe();
  const all = other?.subscribe("room:1", { from: "earliest" }) as Subscription;
  const allHeard = read(all);
  const { id, asked } = await take(socket, "history");
  expect(asked).toMatchObject({ channel: "room:1", backwards: false });
  const publications = upTo(8, 3).map((offset) => pub("room:1", offset));
  socket.say({
    reply: { id, history: { channel: "room:1", epoch: 1, publications, headOffset: 8 } },
  });
  await until(() => all.isLive);
  say(socket, "room:1", 9, 9);
  await until(() => allHeard.offsets.at(-1) === 9);
  expect(allHeard.offsets).toEqual(upTo(9, 3));
  expect(allHeard.others, "1 and 2 are kept no longer").toEqual(["gap"]);
  expect(heard.offsets).toEqual(upTo(9, 6));
});

test("a frozen tab holds nobody up, is told of a gap and recovers from its own position", async () => {
  const { tabs: two, socket } = await tabs(origin, 2);
  const [slow, quick] = two as [(typeof two)[0], (typeof two)[0]];
  const rooms = [slow, quick].map(({ client }) => client.subscribe("room:1"));
  const [slowHeard, quickHeard] = rooms.map(read) as [
    ReturnType<typeof read>,
    ReturnType<typeof read>,
  ];
  await answer(socket);
  await until(() => rooms.every(({ isLive }) => isLive));
  slow.freeze();
  const count = PORT_FRAMES + TAIL_PUBLICATIONS + 100;
  for (let said = 0; said < count; said += 100) {
    const upto = Math.min(said + 100, count);
    say(socket, "room:1", said + 1, upto);
    await until(() => quickHeard.offsets.length === upto);
  }
  expect(socket.commands.some(({ history }) => history)).toBe(false);
  expect(slowHeard.offsets).toEqual([]);
  slow.thaw();
  while (slowHeard.offsets.length < count) {
    const asked = await until(
      () => slowHeard.offsets.length === count || socket.commands.find(({ history }) => history),
    );
    if (asked === true) break;
    const { id, asked: page } = await take(socket, "history");
    const from = Number(page.since?.offset) + 1;
    const publications = upTo(Math.min(from + page.limit - 1, count), from).map((offset) =>
      pub("room:1", offset),
    );
    socket.say({
      reply: { id, history: { channel: "room:1", epoch: 1, publications, headOffset: count } },
    });
  }
  expect(slowHeard.offsets).toEqual(upTo(count));
  expect(slowHeard.others).toEqual([]);
  expect(slow.client.statistics().gapsRecovered).toBeGreaterThan(0);
  say(socket, "room:1", count + 1, count + 1);
  await until(
    () => slowHeard.offsets.length === count + 1 && quickHeard.offsets.length === count + 1,
  );
}, 30_000);

test("a subscription ends on the server with the last tab that has it, also when that dies", async () => {
  const { tabs: two, socket } = await tabs(origin, 2);
  const rooms = two.map(({ client }) => client.subscribe("room:1"));
  await answer(socket);
  await until(() => rooms.every(({ isLive }) => isLive));
  rooms[0]?.unsubscribe();
  const ephemeral = two[0]?.client;
  ephemeral?.ephemeral("room:1", "typing", "x");
  await take(socket, "ephemeral");
  expect(socket.commands.some(({ unsubscribe }) => unsubscribe)).toBe(false);
  two[1]?.kill();
  expect((await take(socket, "unsubscribe")).asked.channel).toBe("room:1");
  expect(two[0]?.client.state.name).toBe("connected");
  two[0]?.kill();
  await until(() => socket.closedWith !== undefined);
  expect(origin.made[0]?.state.name).toBe("closed");
});

test("what a tab says in passing its other tabs hear, since the node does not repeat it", async () => {
  const { tabs: two, socket } = await tabs(origin, 2);
  const rooms = two.map(({ client }) => client.subscribe("room:1"));
  const heard = rooms.map(read);
  await answer(socket);
  await until(() => rooms.every(({ isLive }) => isLive));
  rooms[0]?.ephemeral("typing", "x");
  await until(() => heard[1]?.others.length);
  expect(heard.map(({ others }) => others)).toEqual([[], ["ephemeral"]]);
});

test("presence and receipts are asked of the node once a tab wants them, and told to that tab only", async () => {
  const { tabs: two, socket } = await tabs(origin, 2);
  const plain = two[0]?.client.subscribe("room:1") as Subscription;
  const plainHeard = read(plain);
  expect(await answer(socket, 3)).toMatchObject({ presence: false });
  await until(() => plain.isLive);
  const curious = two[1]?.client.subscribe("room:1", { presence: true }) as Subscription;
  const curiousHeard = read(curious);
  const { id } = await take(socket, "unsubscribe");
  socket.say({ reply: { id, done: {} } });
  expect(await answer(socket, 3)).toMatchObject({ presence: true, since: { epoch: 1, offset: 3 } });
  await until(() => curious.isLive);
  const member = { user: "bob", state: 1, sessions: 1 };
  socket.say({ push: { presence: { channel: "room:1", member } } });
  await until(() => curiousHeard.others.includes("presence"));
  expect(plainHeard.others).toEqual([]);
});

test("publications of tabs are published once, in order, and answered with their positions", async () => {
  const { tabs: two, socket } = await tabs(origin, 2);
  const send = two[0]?.client.publish("room:1", "hello");
  const { id, asked } = await take(socket, "publish");
  expect(new TextDecoder().decode(asked.payload)).toBe("hello");
  socket.say({ reply: { id, published: { channel: "room:1", epoch: 1, offset: 7, id: 42 } } });
  expect(await send).toMatchObject({ position: { epoch: 1, offset: 7 }, id: "42" });
  const refused = two[1]?.client.publish("room:2", "no");
  const second = await take(socket, "publish");
  socket.say({ reply: { id: second.id, error: { code: 102, name: "PERMISSION_DENIED" } } });
  const error = await Promise.resolve(refused).catch((error) => error);
  expect(error).toBeInstanceOf(SternaError);
  expect(error).toMatchObject({ code: "PERMISSION_DENIED", retryable: false });
});

test("calls cross the port, and their errors are typed", async () => {
  const { tabs: one, socket } = await tabs(origin, 1);
  const asking = one[0]?.client.call({ presence: { channel: "room:1" } });
  const { id } = await take(socket, "presence");
  socket.say({ reply: { id, presence: { members: [], total: 3 } } });
  expect((await asking)?.presence?.total).toBe(3);
  const failing = one[0]?.client.call({ presence: { channel: "room:2" } });
  const { id: second } = await take(socket, "presence");
  socket.say({ reply: { id: second, error: { code: 103, name: "UNKNOWN_CHANNEL" } } });
  await expect(failing).rejects.toMatchObject({ name: "SternaError", code: "UNKNOWN_CHANNEL" });
});
