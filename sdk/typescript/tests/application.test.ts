// What applications do at odd moments, or wrongly: none of it may break the client, or reach the wire.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { goOffline, goOnline } from "../src/driver/steps.js";
import type { Present } from "../src/events.js";
import { history } from "../src/history.js";
import { Client, SternaError, type WebSocketConstructor } from "../src/index.js";
import { followPresence } from "../src/presence.js";
import { deadline } from "../src/session/polling.js";
import type { Command } from "../src/wire/schema.js";
import { FakeSocket } from "./support/socket.js";
import { Bench, later, page, settle } from "./support/transport.js";

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

async function connected() {
  const webSocket = FakeSocket as unknown as WebSocketConstructor;
  const client = new Client("sterna://edge", { webSocket });
  client.connect();
  await settle();
  const socket = FakeSocket.all.at(-1) as FakeSocket;
  socket.open();
  await settle();
  socket.welcome();
  await settle();
  return { client, socket };
}

/** A subscription with presence that is live. */
async function live() {
  const { client, socket } = await connected();
  const room = client.subscribe("room:1", { presence: true });
  await settle();
  const { id } = socket.commands.shift() as Command;
  socket.say({ reply: { id, subscribed: page("room:1", 0, 0) } });
  await settle();
  return { client, socket, room };
}

test("a buffer may be used again as soon as it was published", async () => {
  const { client, socket } = await connected();
  const buffer = Buffer.from([1]);
  client.publish("room:1", buffer);
  buffer[0] = 2;
  client.publish("room:1", buffer);
  client.ephemeral("room:1", "cursor", buffer);
  buffer[0] = 3;
  await settle();
  const payloads = socket.commands.map(({ publish, ephemeral }) => (publish ?? ephemeral)?.payload);
  expect(payloads.map((payload) => payload?.[0])).toEqual([1, 2, 2]);
});

test("whoever watches the inbox and throws breaks no connection", async () => {
  const thrown: unknown[] = [];
  vi.spyOn(globalThis, "queueMicrotask").mockImplementation((run) => {
    void Promise.resolve()
      .then(run)
      .catch((error) => thrown.push(error));
  });
  const { client, socket } = await connected();
  const heard = vi.fn();
  client.watchInbox(() => {
    throw new Error("a fault of the application");
  });
  client.watchInbox(heard);
  socket.say({ push: { inboxTouched: { channel: "room:1" } } });
  await settle();
  expect(heard).toHaveBeenCalledOnce();
  expect(thrown).toHaveLength(1);
  expect(client.state.name).toBe("connected");
});

describe("who is present", () => {
  const member = (user: string, state: number) => ({ user, state, sessions: 1 });

  test("is asked for by whoever follows a room that is live already", async () => {
    const { socket, room } = await live();
    const lists: string[][] = [];
    followPresence(room, (list: readonly Present[]) => lists.push(list.map(({ user }) => user)));
    await settle();
    const { id, presence } = socket.commands.shift() as Command;
    expect(presence?.channel).toBe("room:1");
    // Bob leaves while the list is on its way, and Carol comes.
    const change = (user: string, state: number) => ({
      push: { presence: { channel: "room:1", member: member(user, state) } },
    });
    socket.say(change("bob", 0), change("carol", 1));
    await settle();
    const members = [member("alice", 1), member("bob", 1)];
    socket.say({ reply: { id, presence: { channel: "room:1", members, total: 2 } } });
    await settle();
    expect(lists.at(-1)).toEqual(["alice", "carol"]);
  });

  test("is not asked for in a room that is not live", async () => {
    const { client, socket } = await connected();
    followPresence(client.subscribe("room:1", { presence: true }), () => {});
    await settle();
    expect(socket.commands.filter(({ presence }) => presence)).toEqual([]);
  });
});

test("many changes of activity wait for a place without keeping the driver busy", async () => {
  const bench = new Bench();
  const rooms = Array.from({ length: 9 }, (_, n) => `room:${n}`);
  const entries = rooms.map((room) => bench.subscribe(room));
  const link = await bench.connect();
  for (const room of rooms) await link.say({ push: { subscribed: page(room, 0, 0) } });
  for (const entry of entries) bench.session.setActivity(entry, "background");
  bench.driver.wake();
  await settle();
  const words = () => link.sent.filter(({ setActivity }) => setActivity);
  expect(words()).toHaveLength(4);
  expect(deadline(bench.session, true)).toBeGreaterThan(performance.now());
  const { id } = link.take("setActivity");
  await link.reply(id, { done: {} });
  expect(words(), "an answer makes room for one").toHaveLength(4);
});

test("a provider that never answers an ended session does not hold up the next", async () => {
  const answers: ((token: string) => void)[] = [];
  const bench = new Bench({ token: () => new Promise<string>((done) => answers.push(done)) });
  goOnline(bench.driver);
  await settle();
  bench.link.establish();
  await settle();
  goOffline(bench.driver);
  goOnline(bench.driver);
  await settle();
  bench.link.establish();
  await settle();
  answers[1]?.("of the new session");
  await settle();
  expect(bench.link.take("hello").asked.accessToken).toBe("of the new session");
});

test("nothing is heard after the end of a subscription", async () => {
  const { socket, room } = await live();
  const heard = vi.fn();
  room.on("ephemeral", heard);
  await later(10);
  socket.say({ push: { ephemeral: { channel: "room:1", key: "typing", sender: "bob" } } });
  room.unsubscribe();
  await later(10);
  expect(heard).not.toHaveBeenCalled();
  expect(room.isLive).toBe(false);
});

test("numbers and names that no server takes are refused at once", async () => {
  const { client, socket, room } = await live();
  const refused = (call: () => unknown) => expect(call).toThrow(SternaError);
  // biome-ignore lint/suspicious/noExplicitAny: callers without types are the point.
  const typo = "typo" as any;
  for (const number of [-1, 0.5, Number.NaN, 2 ** 53]) {
    refused(() => client.publish("room:1", "x", { kind: "edit", target: number }));
    refused(() => client.subscribe("room:2", { from: { epoch: 1, offset: number } }));
    await expect(client.markRead("room:1", number)).rejects.toThrow(SternaError);
    await expect(client.ack("room:1", number)).rejects.toThrow(SternaError);
    await expect(history(room, { limit: number })).rejects.toThrow(SternaError);
  }
  refused(() => client.publish("room:1", "x", { kind: typo }));
  refused(() => client.subscribe("room:2", { activity: typo }));
  refused(() => room.setActivity(typo));
  await settle();
  expect(socket.commands).toEqual([]);
  expect(client.statistics().outboxPublications).toBe(0);
});
