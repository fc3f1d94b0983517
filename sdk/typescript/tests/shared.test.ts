// One connection for many tabs: who is connected, who gives tokens, what each tab hears, and what happens to
// the others when one is slow or dies. The node is the test, the ports are those of the platform.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  type ClientOptions,
  SternaError,
  type Subscription,
  type WebSocketConstructor,
} from "../src/index.js";
import { PORT_FRAMES } from "../src/shared/messages.js";
import { Turns } from "../src/shared/sends.js";
import { TAIL_PUBLICATIONS, Tail } from "../src/shared/tail.js";
import type { Command } from "../src/wire/schema.js";
import { shareClient } from "../src/worker.js";
import { Origin } from "./support/origin.js";
import { FakeSocket } from "./support/socket.js";
import { pub } from "./support/transport.js";

let origin: Origin;
beforeEach(() => {
  FakeSocket.all = [];
  origin = new Origin({ webSocket: FakeSocket as unknown as WebSocketConstructor });
});
afterEach(() => origin.end());

const until = <Value>(look: () => Value) =>
  vi.waitFor(
    () => {
      const value = look();
      if (!value) throw new Error(`never: ${look}`);
      return value;
    },
    { timeout: 10_000, interval: 5 },
  );

/** The connection of the worker, once it is there. */
const socketAt = (at: number) => until(() => FakeSocket.all[at]);

/** The next command of this verb that the node gets. */
async function take<Verb extends keyof Command>(socket: FakeSocket, verb: Verb) {
  const command = await until(() => socket.commands.find((each) => each[verb]));
  socket.commands.splice(socket.commands.indexOf(command), 1);
  return { id: command.id, asked: command[verb] as NonNullable<Command[Verb]> };
}

/** Opens the connection of the worker and answers its Hello. */
async function accept(at = 0): Promise<FakeSocket> {
  const socket = await socketAt(at);
  socket.open();
  await until(() => socket.commands.length);
  socket.welcome();
  return socket;
}

async function tabs(count: number, options: ClientOptions = {}) {
  const made = Array.from({ length: count }, () => origin.open({ token: "token", ...options }));
  for (const { client } of made) client.connect();
  const socket = await accept();
  await Promise.all(made.map(({ client }) => client.ready({ timeout: 10_000 })));
  return { tabs: made, socket };
}

/** The node says where the channel stands. */
async function answer(socket: FakeSocket, offset = 0) {
  const { id, asked } = await take(socket, "subscribe");
  const position = { epoch: 1, offset };
  const { channel } = asked;
  socket.say({
    reply: { id, subscribed: { channel, position, live: true, headOffset: offset } },
  });
  return asked;
}

/** What a subscription has yielded. */
function read(room: Subscription) {
  const offsets: number[] = [];
  const others: string[] = [];
  room.on("publication", ({ position }) => offsets.push(position.offset));
  for (const type of ["gap", "ephemeral", "presence", "presenceGap", "error", "head"] as const) {
    room.on(type, () => others.push(type));
  }
  return { offsets, others };
}

const say = (socket: FakeSocket, channel: string, from: number, upto: number) => {
  for (let offset = from; offset <= upto; offset++) {
    socket.say({ push: { publication: pub(channel, offset) } });
  }
};
const upTo = (count: number, from = 1) =>
  Array.from({ length: count - from + 1 }, (_, at) => at + from);

test("two tabs have one connection and one subscription, and each hears everything", async () => {
  const { tabs: two, socket } = await tabs(2);
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
  const { tabs: two, socket } = await tabs(2);
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
  const { tabs: two, socket } = await tabs(2);
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
  const { tabs: two, socket } = await tabs(2);
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
  const { tabs: two, socket } = await tabs(2);
  const rooms = two.map(({ client }) => client.subscribe("room:1"));
  const heard = rooms.map(read);
  await answer(socket);
  await until(() => rooms.every(({ isLive }) => isLive));
  rooms[0]?.ephemeral("typing", "x");
  await until(() => heard[1]?.others.length);
  expect(heard.map(({ others }) => others)).toEqual([[], ["ephemeral"]]);
});

test("presence and receipts are asked of the node once a tab wants them, and told to that tab only", async () => {
  const { tabs: two, socket } = await tabs(2);
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
  const { tabs: two, socket } = await tabs(2);
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
  const { tabs: one, socket } = await tabs(1);
  const asking = one[0]?.client.call({ presence: { channel: "room:1" } });
  const { id } = await take(socket, "presence");
  socket.say({ reply: { id, presence: { members: [], total: 3 } } });
  expect((await asking)?.presence?.total).toBe(3);
  const failing = one[0]?.client.call({ presence: { channel: "room:2" } });
  const { id: second } = await take(socket, "presence");
  socket.say({ reply: { id: second, error: { code: 103, name: "UNKNOWN_CHANNEL" } } });
  await expect(failing).rejects.toMatchObject({ name: "SternaError", code: "UNKNOWN_CHANNEL" });
});

test("the token comes from a living tab: when the one that is asked dies, from the next", async () => {
  const asked: string[] = [];
  const first = origin.open({
    token: () => {
      asked.push("first");
      return new Promise(() => {});
    },
  });
  first.client.connect();
  await until(() => origin.made.length === 1);
  const second = origin.open({
    token: () => {
      asked.push("second");
      return "of the second";
    },
  });
  second.client.connect();
  (await socketAt(0)).open();
  await until(() => asked.length === 1);
  first.kill();
  expect((await take(await socketAt(0), "hello")).asked.accessToken).toBe("of the second");
  expect(asked).toEqual(["first", "second"]);
});

test("a provider that refuses for good ends the session of all tabs, with its error", async () => {
  const refuse = () => {
    throw new SternaError("UNAUTHORIZED", "signed out");
  };
  const two = [origin.open({ token: refuse }), origin.open({ token: refuse })];
  for (const { client } of two) client.connect();
  (await socketAt(0)).open();
  for (const { client } of two) {
    await until(() => client.state.name === "disconnected");
    expect(client.state).toMatchObject({ error: { code: "UNAUTHORIZED", message: "signed out" } });
  }
  expect(FakeSocket.all, "no storm").toHaveLength(1);
});

test("tabs follow the connection of the worker: lost, back, closed for good", async () => {
  const { tabs: two, socket } = await tabs(2);
  const states = two.map(({ client }) => {
    const seen: string[] = [];
    client.on("state", ({ name }) => seen.push(name));
    return seen;
  });
  const rooms = two.map(({ client }) => client.subscribe("room:1"));
  const heard = rooms.map(read);
  await answer(socket);
  await until(() => rooms.every(({ isLive }) => isLive));
  say(socket, "room:1", 1, 2);
  await until(() => heard.every(({ offsets }) => offsets.length === 2));
  socket.onclose({ code: 1006, reason: "" });
  await until(() => two.every(({ client }) => client.state.name === "connecting"));
  const waiting = two[0]?.client.publish("room:1", "while it is gone");
  const again = await socketAt(1);
  again.open();
  const hello = await until(() => again.commands.find((each) => each.hello));
  expect(hello.hello?.subscriptions).toMatchObject([{ since: { epoch: 1, offset: 2 } }]);
  again.welcome();
  const position = { epoch: 1, offset: 2 };
  again.say({
    push: { subscribed: { channel: "room:1", position, live: true, headOffset: 2 } },
  });
  await until(() => two.every(({ client }) => client.state.name === "connected"));
  say(again, "room:1", 3, 3);
  await until(() => heard.every(({ offsets }) => offsets.length === 3));
  expect(heard.map(({ offsets }) => offsets)).toEqual([upTo(3), upTo(3)]);
  const { id } = await take(again, "publish");
  again.say({ reply: { id, published: { channel: "room:1", epoch: 1, offset: 3, id: 9 } } });
  await waiting;
  again.onclose({ code: 3504, reason: "revoked" });
  for (const { client } of two) {
    await until(() => client.state.name === "disconnected");
    expect(client.state).toMatchObject({ error: { code: "UNAUTHORIZED", closeCode: 3504 } });
  }
  expect(states.map((seen) => seen.at(-1))).toEqual(["disconnected", "disconnected"]);
  expect(FakeSocket.all).toHaveLength(2);
  // The application may want it again.
  two[0]?.client.connect();
  await accept(2);
  await two[0]?.client.ready({ timeout: 10_000 });
});

test("the worker sleeps when all tabs do, and wakes with the first", async () => {
  const { tabs: two, socket } = await tabs(2);
  two[0]?.client.background(0);
  await until(() => two[0]?.client.state.name === "background");
  expect(socket.closedWith).toBeUndefined();
  two[1]?.client.background(0);
  await until(() => socket.closedWith !== undefined);
  two[1]?.client.foreground();
  await accept(1);
  await two[1]?.client.ready({ timeout: 10_000 });
  expect(two[0]?.client.state.name).toBe("background");
});

test("i1 a worker dies: its tabs start another one, which publishes again under the same numbers", async () => {
  const { tabs: two, socket } = await tabs(2);
  const sends = [two[0]?.client.publish("room:1", "a"), two[1]?.client.publish("room:1", "b")];
  const before = [await take(socket, "publish"), await take(socket, "publish")];
  const hello = origin.made[0]?.clientId;
  origin.crash();
  const again = await socketAt(1);
  again.open();
  expect((await until(() => again.commands.find((each) => each.hello))).hello?.clientId).toBe(
    hello,
  );
  again.welcome();
  const after = [await take(again, "publish"), await take(again, "publish")];
  const numbers = (all: typeof before) =>
    Object.fromEntries(
      all.map(({ asked }) => [new TextDecoder().decode(asked.payload), asked.clientSeq]),
    );
  expect(numbers(after)).toEqual(numbers(before));
  for (const { id } of after) {
    const place = { channel: "room:1", epoch: 1, offset: id, id, duplicate: true };
    again.say({ reply: { id, published: place } });
  }
  for (const send of sends) expect(await send).toMatchObject({ duplicate: true });
  const next = two[0]?.client.publish("room:1", "c");
  const { id, asked } = await take(again, "publish");
  expect(asked.clientSeq).toBeGreaterThan(Number(before.at(-1)?.asked.clientSeq));
  again.say({ reply: { id, published: { channel: "room:1", epoch: 1, offset: 9, id: 9 } } });
  await next;
});

test("without a SharedWorker the client has a connection of its own", async () => {
  const worker = () => {
    throw new Error("there is none");
  };
  const client = shareClient("sterna://edge", {
    worker,
    subject: "alice",
    token: "token",
    webSocket: FakeSocket as unknown as WebSocketConstructor,
  });
  client.connect();
  await accept();
  await client.ready({ timeout: 10_000 });
  await client.dispose();
});

test("the tail keeps the newest, and says when it does not reach", () => {
  const tail = new Tail();
  const add = (offset: number) =>
    tail.add({ ...pub("room:1", offset), payload: new Uint8Array(8) } as never);
  tail.restart({ epoch: 2, offset: 10 });
  for (const offset of upTo(13, 11)) add(offset);
  const after = (offset: number, epoch = 2) =>
    tail.after({ epoch, offset }, 2)?.map((each) => each.offset);
  expect([after(10), after(12), after(13)]).toEqual([[11, 12], [13], []]);
  expect([after(9), after(12, 1)]).toEqual([undefined, undefined]);
  for (const offset of upTo(14 + TAIL_PUBLICATIONS, 14)) add(offset);
  expect(after(13)).toBeUndefined();
  expect(after(14)).toEqual([15, 16]);
});

test("i1 what was refused holds back what its tab published after it, until it has come again", () => {
  const turns = new Turns();
  expect(turns.admits("a", 1, 1)).toBe(true);
  turns.onRefused("a", 1);
  expect([turns.admits("a", 2, 1), turns.admits("a", 3, 1), turns.admits("b", 4, 4)]).toEqual([
    false,
    false,
    true,
  ]);
  expect([turns.admits("a", 1, 1), turns.admits("a", 3, 1), turns.admits("a", 2, 2)]).toEqual([
    true,
    false,
    true,
  ]);
  expect(turns.admits("a", 3, 3)).toBe(true);
});
