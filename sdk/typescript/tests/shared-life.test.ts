// One connection for many tabs: who gives tokens, and what becomes of tabs when the connection or the worker is
// lost, or all of them sleep.
import { afterEach, beforeEach, expect, test } from "vitest";
import { SternaError, type WebSocketConstructor } from "../src/index.js";
import { shareClient } from "../src/worker.js";
import type { Origin } from "./support/origin.js";
import { FakeSocket } from "./support/socket.js";
import {
  accept,
  answer,
  newOrigin,
  read,
  say,
  socketAt,
  tabs,
  take,
  until,
  upTo,
} from "./support/tabs.js";

let origin: Origin;
beforeEach(() => {
  origin = newOrigin();
});
afterEach(() => origin.end());

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
  const { tabs: two, socket } = await tabs(origin, 2);
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
  const { tabs: two, socket } = await tabs(origin, 2);
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
  const { tabs: two, socket } = await tabs(origin, 2);
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

test("what no node takes of a tab ends there, with its error, and is left", async () => {
  const { tabs: two, socket } = await tabs(origin, 2);
  const rooms = two.map(({ client }) => client.subscribe("room:1"));
  const heard = rooms.map(read);
  const { id } = await take(socket, "subscribe");
  socket.say({ reply: { id, error: { code: 102, name: "PERMISSION_DENIED" } } });
  await until(() => heard.every(({ others }) => others.length > 0));
  expect(heard.map(({ others }) => others)).toEqual([["error"], ["error"]]);
  const again = two[0]?.client.subscribe("room:1");
  await answer(socket);
  await until(() => again?.isLive);
});

test("news of the network of one page is told once, however many tabs hear of it", async () => {
  const { tabs: three, socket } = await tabs(origin, 3);
  for (const { client } of three) client.networkChanged("wake");
  await take(socket, "ping");
  for (const { client } of three) {
    // What a tab says later is heard later.
    const answered = client.call({ presence: { channel: "room:1" } });
    const { id } = await take(socket, "presence");
    socket.say({ reply: { id, presence: { total: 1 } } });
    await answered;
  }
  expect(socket.commands.filter(({ ping }) => ping)).toEqual([]);
});

test("options that cannot work end in one attempt, and addresses that cannot throw", async () => {
  const tab = origin.open({ token: "token", transports: [] });
  tab.client.connect();
  await until(() => tab.client.state.name === "disconnected");
  expect(tab.client.state).toMatchObject({ error: { closeCode: 3501, retryable: false } });
  expect(() => origin.open({ address: "nowhere" })).toThrow("nowhere");
});
