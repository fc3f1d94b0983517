// The client against a real node over wss, with the Rust command line at the other end.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Client, type Publication, SternaError, type Subscription } from "../../src/index.js";
import { DevNode, lines } from "../support/node.js";

const node = new DevNode();
beforeAll(() => node.start());
afterAll(() => node.stop());

async function online(options = {}): Promise<Client> {
  const client = await node.client(options);
  client.connect();
  await client.ready({ timeout: 10_000 });
  return client;
}

async function publications(room: Subscription, count: number): Promise<Publication[]> {
  const found: Publication[] = [];
  while (found.length < count) {
    const event = await room.next();
    if (!event || event.type === "error") throw event?.error ?? new Error("it has ended");
    if (event.type === "publication") found.push(event);
  }
  return found;
}

describe("with the Rust command line", () => {
  test("what it publishes arrives here, and the other way round", async () => {
    const client = await online();
    const room = client.subscribe("room:cli", { from: "earliest" });
    await node.cli("pub", "room:cli", "from Rust");
    const [first] = await publications(room, 1);
    expect(first?.text()).toBe("from Rust");
    const { position, duplicate } = await room.publish({ from: "TypeScript" });
    expect([position.offset, duplicate]).toEqual([2, false]);
    const printed = await node.cli(
      "sub",
      "room:cli",
      "--from",
      "earliest",
      "--count",
      "2",
      "--json",
    );
    expect(printed.trim().split("\n")).toHaveLength(2);
    expect(printed).toContain("TypeScript");
    const [second] = await publications(room, 1);
    expect(second?.json()).toEqual({ from: "TypeScript" });
    expect(second?.position).toEqual(position);
    expect(second?.sender).toBe("alice");
  });
});

describe("a session", () => {
  test("says of itself what the server said", async () => {
    const client = await online();
    expect(client.state).toMatchObject({
      name: "connected",
      transport: "websocket",
      user: "alice",
      resumed: false,
      durability: "fsync",
    });
  });

  test("sees its own publications with the id that it gave them, and what others type", async () => {
    const [alice, bob] = await Promise.all([online(), online({ token: await node.token("bob") })]);
    const room = bob.subscribe("room:ids", { from: "earliest" });
    const send = alice.publish("room:ids", "hello");
    expect(send.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    await send;
    const [publication] = await publications(room, 1);
    expect(publication?.messageId).toBe(send.id);
    alice.ephemeral("room:ids", "typing", { on: true });
    for (;;) {
      const event = await room.next();
      if (event?.type !== "ephemeral") continue;
      expect(event.json()).toEqual({ on: true });
      expect([event.key, event.sender]).toEqual(["typing", "alice"]);
      break;
    }
  });

  test("a token that is none is a terminal error", async () => {
    const client = await node.client({ token: "a.b.c" });
    client.connect();
    const error = await client.ready({ timeout: 10_000 }).catch((error) => error);
    expect(error).toBeInstanceOf(SternaError);
    expect(error).toMatchObject({ code: "UNAUTHORIZED", retryable: false });
    expect(client.state).toMatchObject({ name: "disconnected", error: { code: "UNAUTHORIZED" } });
  });

  test("what the token does not allow is refused, and nothing else ends", async () => {
    const client = await online({ token: await node.token("alice", "--channel", "room:mine") });
    await expect(client.publish("room:other", "x")).rejects.toMatchObject({
      code: "PERMISSION_DENIED",
    });
    const other = client.subscribe("room:other");
    let event = await other.next();
    while (event?.type === "state") event = await other.next();
    expect(event).toMatchObject({ type: "error", error: { code: "PERMISSION_DENIED" } });
    expect(await other.next()).toBeUndefined();
    await client.publish("room:mine", "y");
  });

  test("resumes on a new connection without a new session", async () => {
    const client = await online();
    const room = client.subscribe("room:resume", { from: "earliest" });
    await room.publish("1");
    await publications(room, 1);
    const before = client.state.name === "connected" && client.state.sessionId;
    client.background(0);
    expect(client.state.name).toBe("background");
    await node.cli("pub", "room:resume", "2");
    client.foreground();
    await client.ready({ timeout: 10_000 });
    expect(client.state).toMatchObject({ resumed: true, sessionId: before });
    const [missed] = await publications(room, 1);
    expect(missed?.text()).toBe("2");
  });
});

test("outlives its first token: another is asked for in time, and the session goes on", async () => {
  const given: { reason: string; expires: number }[] = [];
  const token = async ({ reason }: { reason: string }) => {
    const token = await node.token("alice", "--ttl", "2s");
    const claims = Buffer.from(token.split(".")[1] as string, "base64url").toString();
    given.push({ reason, expires: 1000 * JSON.parse(claims).exp });
    return token;
  };
  const client = await online({ token });
  // Nodes take a token for so much longer, since clocks differ.
  const leeway = 10_000;
  await waitFor(() => Date.now() > (given[0]?.expires as number) + leeway);
  await client.publish("room:tokens", "by the second token");
  expect(given.map(({ reason }) => reason)).toEqual(["connect", "refresh"]);
  expect(client.statistics()).toMatchObject({ connects: 1 });
}, 60_000);

test("i5, i13 a reader that comes late to its own queue gets everything, in order", async () => {
  const count = 2000;
  const reader = await online();
  const room = reader.subscribe("room:late", { from: "earliest" });
  const writer = await online({ outbox: { publications: count } });
  await Promise.all(Array.from({ length: count }, (_, at) => writer.publish("room:late", at + 1)));
  const found = await publications(room, count);
  expect(found.map(({ position }) => position.offset)).toEqual(
    Array.from({ length: count }, (_, at) => at + 1),
  );
}, 60_000);

test("i13 10,000 publications arrive complete and in order", async () => {
  const client = await online({ outbox: { publications: 10_000 } });
  const room = client.subscribe("room:many", { from: "earliest" });
  const count = 10_000;
  const sends = Array.from({ length: count }, (_, at) => client.publish("room:many", at + 1));
  const found = await publications(room, count);
  expect(found.every((publication, at) => publication.position.offset === at + 1)).toBe(true);
  expect(found.every((publication, at) => publication.json() === at + 1)).toBe(true);
  expect((await sends.at(-1))?.position.offset).toBe(count);
}, 60_000);

test("i1, i13 a node that is killed in mid conversation loses and doubles nothing", async () => {
  const own = new DevNode();
  await own.start();
  try {
    const reader = await own.client();
    const writer = await own.client();
    for (const client of [reader, writer]) client.connect();
    const room = reader.subscribe("room:kill", { from: "earliest" });
    const seen: number[] = [];
    room.on("publication", (publication) => seen.push(publication.json<number>()));
    let acked = 0;
    const sends = Array.from({ length: 200 }, (_, at) => {
      const send = writer.publish("room:kill", at);
      send.on("state", ({ name }) => {
        if (name === "acked") acked++;
      });
      return send;
    });
    await waitFor(() => acked > 20);
    await own.kill();
    await waitFor(() => reader.state.name !== "connected");
    await own.start();
    await Promise.all(sends);
    await waitFor(() => seen.length >= 200);
    expect(seen).toEqual(Array.from({ length: 200 }, (_, at) => at));
    const printed = await own.cli("sub", "room:kill", "--from", "earliest", "--count", "200");
    expect(printed.trim().split("\n")).toHaveLength(200);
  } finally {
    await own.stop();
  }
}, 60_000);

test("the command line hears what is published here while it follows", async () => {
  const client = await online();
  const child = node.spawn("sub", "room:follow", "--from", "earliest", "--count", "3", "--json");
  const printed: string[] = [];
  const reading = (async () => {
    for await (const line of lines(child)) printed.push(line);
  })();
  for (const text of ["a", "b", "c"]) await client.publish("room:follow", text);
  await reading;
  expect(printed.map((line) => JSON.parse(line).text)).toEqual(["a", "b", "c"]);
});

async function waitFor(condition: () => boolean): Promise<void> {
  const until = Date.now() + 30_000;
  while (!condition()) {
    if (Date.now() > until) throw new Error(`never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
