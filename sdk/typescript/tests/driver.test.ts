// The client's session over scripted connections in fake time: resume, retransmission, drains, dead paths,
// races, tokens, the background, and servers that say what no server says.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EARLY_FRAMES } from "../src/driver/attempt.js";
import {
  enterBackground,
  goOffline,
  goOnline,
  leaveBackground,
  onNetworkChange,
} from "../src/driver/steps.js";
import { SternaError } from "../src/errors.js";
import {
  CLOSE_DRAINED,
  CLOSE_REVOKED,
  CLOSE_SUPERSEDED,
  CLOSE_TOKEN_EXPIRED,
} from "../src/wire/codes.js";
import { Bench, drain, later, offsetsOf, page, pub, settle } from "./support/transport.js";

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const nameOf = (bench: Bench) => bench.driver.state.name;

describe("connecting", () => {
  test("begins with a Hello that names everything the client wants", async () => {
    const bench = new Bench();
    bench.subscribe("room:1", { from: { epoch: 1, offset: 7 }, presence: true });
    goOnline(bench.driver);
    expect(nameOf(bench)).toBe("connecting");
    await settle();
    bench.link.establish();
    const { hello } = await bench.link.welcome();
    expect(hello).toMatchObject({
      accessToken: "token",
      clientId: "phone-1",
      subscriptions: [{ channel: "room:1", since: { epoch: 1, offset: 7 }, presence: true }],
    });
    expect(bench.driver.state).toMatchObject({
      name: "connected",
      user: "alice",
      durability: "fsync",
    });
  });

  test("goes on with back-off, for ever", async () => {
    const bench = new Bench();
    goOnline(bench.driver);
    const at: number[] = [];
    for (let attempt = 0; attempt < 8; attempt++) {
      while (bench.links.length <= attempt) await later(10);
      at.push(performance.now());
      bench.link.end();
    }
    const pauses = at
      .slice(1)
      .map((time, index) => Math.round((time - (at[index] as number)) / 250));
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 40]);
    expect(bench.driver.state).toMatchObject({
      name: "connecting",
      lastError: { code: "DISCONNECTED" },
    });
  });

  test("a Hello that nobody answers makes room for another attempt", async () => {
    const bench = new Bench();
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    await later(4000);
    expect(bench.links[0]?.isClosed).toBe(true);
    expect(bench.links).toHaveLength(2);
  });

  test("a refusal that may be tried again is, not before the server wished", async () => {
    const bench = new Bench();
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    await settle();
    const { id } = bench.link.take("hello");
    await bench.link.reply(id, { error: { code: 113, retryAfterMs: 7000 } });
    await later(6900);
    expect(bench.links).toHaveLength(1);
    await later(200);
    expect(bench.links).toHaveLength(2);
  });

  test.each([
    ["a refusal", (bench: Bench, id: number) => bench.link.reply(id, { error: { code: 101 } })],
    [
      "a close code",
      async (bench: Bench) => bench.link.end({ code: CLOSE_REVOKED, reason: "revoked" }),
    ],
  ])("%s that is terminal ends all trying", async (_, refuse) => {
    const bench = new Bench();
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    await settle();
    await refuse(bench, bench.link.take("hello").id);
    await later(60_000);
    expect(bench.links).toHaveLength(1);
    expect(bench.driver.state).toMatchObject({
      name: "disconnected",
      error: { code: "UNAUTHORIZED" },
    });
  });

  test("pushes that overtake the Welcome are kept for it; of more than fit, everything is asked anew", async () => {
    const bench = new Bench();
    const { mailbox } = bench.subscribe("room:1", { from: "earliest" });
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    await settle();
    const { id } = bench.link.take("hello");
    const { link } = bench;
    await link.say({ push: { subscribed: page("room:1", 0, 2) } });
    for (let offset = 3; offset <= EARLY_FRAMES + 2; offset++) {
      await link.say({ push: { publication: pub("room:1", offset) } });
    }
    await link.reply(id, { welcome: { heartbeatMs: 25_000 } });
    expect(link.take("subscribe").asked.since?.offset).toBeGreaterThanOrEqual(2);
    expect(offsetsOf(drain(mailbox)).slice(0, 2)).toEqual([1, 2]);
  });
});

describe("a reconnect", () => {
  test("shows the ticket, asks from the own position, and sends the unanswered first", async () => {
    const bench = new Bench();
    const { mailbox } = bench.subscribe("room:1", { from: "earliest" });
    const link = await bench.connect();
    await link.say({ push: { subscribed: page("room:1", 0, 3) } });
    bench.publish("room:1", "a");
    bench.publish("room:2", "b");
    await settle();
    const first = link.take("publish");
    await link.reply(link.take("publish").id, { published: { offset: 1 } });
    const { link: next, hello } = await bench.reconnect();
    expect(hello.hello).toMatchObject({
      resumeTicket: new Uint8Array([1, 2, 3]),
      subscriptions: [{ channel: "room:1", since: { epoch: 1, offset: 3 } }],
    });
    const again = next.take("publish");
    expect(again.asked.clientSeq, "the same key, so that it is stored once").toBe(
      first.asked.clientSeq,
    );
    expect(again.id).not.toBe(first.id);
    await next.say({ push: { subscribed: page("room:1", 3, 5) } });
    expect(offsetsOf(drain(mailbox))).toEqual([1, 2, 3, 4, 5]);
    expect(bench.session.statistics()).toMatchObject({
      connects: 2,
      resumed: 1,
      outboxPublications: 1,
    });
  });

  test("at once after a connection that lived", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    await later(11_000);
    link.end();
    await settle();
    expect(bench.links).toHaveLength(2);
  });

  test("calls are asked again, and their answers reach who has asked", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    const answered = vi.fn();
    bench.session.call({ history: { channel: "a" } }, performance.now(), {
      answered,
      failed: vi.fn(),
    });
    bench.driver.wake();
    await settle();
    expect(link.routes.at(-1)).toBe("bulk");
    const { id } = link.take("history");
    const { link: next } = await bench.reconnect();
    await next.reply(id, { history: { channel: "of the old connection" } });
    expect(answered).not.toHaveBeenCalled();
    await next.reply(next.take("history").id, { history: { channel: "a" } });
    expect(answered).toHaveBeenCalledOnce();
  });

  test("what was unsubscribed without a connection is not named again", async () => {
    const bench = new Bench();
    const entry = bench.subscribe("room:1");
    bench.subscribe("room:2");
    const link = await bench.connect();
    link.end();
    bench.session.unsubscribe(entry);
    await later(1000);
    bench.link.establish();
    const { hello } = await bench.link.welcome();
    expect(hello?.subscriptions.map(({ channel }) => channel)).toEqual(["room:2"]);
  });
});

describe("publications", () => {
  test("have their states told, and a reply makes them stored", async () => {
    const bench = new Bench();
    const send = bench.publish("room:1");
    const states: string[] = [];
    send.on("state", ({ name }) => states.push(name));
    const link = await bench.connect();
    const { id } = link.take("publish");
    await link.reply(id, { published: { epoch: 1, offset: 9, id: 2n ** 63n, serverTsMs: 5 } });
    expect(states).toEqual(["sent", "acked"]);
    const stored = { position: { epoch: 1, offset: 9 }, duplicate: false, serverTime: 5 };
    expect(await send).toEqual({ ...stored, id: String(2n ** 63n) });
  });

  test("are sent again on silence", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    bench.publish("room:1");
    await settle();
    const first = link.take("publish");
    await later(1000);
    const again = link.take("publish");
    expect(again.asked.clientSeq).toBe(first.asked.clientSeq);
    // Either answer will do, and once.
    await link.reply(first.id, { published: { offset: 1 } });
    await link.reply(again.id, { published: { offset: 1, duplicate: true } });
    expect(bench.session.outbox.size).toBe(0);
  });

  test("wait and keep their order when the channel is busy; fail when refused for good", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    const sends = [bench.publish("room:1"), bench.publish("room:1")];
    await settle();
    const [first, second] = link.takeAll("publish");
    await link.reply(first?.id as number, { error: { code: 108, retryAfterMs: 300 } });
    await link.reply(second?.id as number, { error: { code: 108, retryAfterMs: 200 } });
    await later(250);
    expect(link.sent).toEqual([]);
    await later(100);
    const again = link.takeAll("publish").map(({ asked }) => asked.clientSeq);
    expect(again).toEqual([1, 2]);
    await later(1000);
    const [third] = link.takeAll("publish");
    await link.reply(third?.id as number, { error: { code: 102, message: "no" } });
    expect(sends[0]?.state).toMatchObject({ name: "failed", error: { code: "PERMISSION_DENIED" } });
  });

  test("of a client that is closed fail, and so does everything else that waits", async () => {
    const bench = new Bench();
    const { mailbox } = bench.subscribe("room:1");
    const link = await bench.connect();
    const send = bench.publish("room:1");
    await bench.driver.close();
    expect(link.take("goodbye")).toBeDefined();
    expect(link.isClosed).toBe(true);
    await expect(send).rejects.toMatchObject({ code: "CLOSED" });
    drain(mailbox);
    expect(await mailbox.next()).toBeUndefined();
    expect(bench.driver.state.name).toBe("closed");
    await expect(bench.publish("room:1")).rejects.toBeInstanceOf(SternaError);
  });

  test("wait while the connection takes no more", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    link.isCongested = true;
    bench.publish("room:1");
    await later(500);
    expect(link.sent).toEqual([]);
    link.isCongested = false;
    await later(50);
    expect(link.take("publish")).toBeDefined();
  });
});

describe("a drain", () => {
  test("makes the next connection before it leaves the old one", async () => {
    const bench = new Bench();
    const { mailbox } = bench.subscribe("room:1", { from: "earliest" });
    const old = await bench.connect();
    await old.say({ push: { subscribed: page("room:1", 0, 1) } });
    await old.say({ push: { goAway: { deadlineMs: 10_000, successor: "edge-2:4443" } } });
    await later(3900);
    expect(bench.links, "not all clients at once").toHaveLength(1);
    await later(200);
    const next = bench.link;
    expect(next.target).toEqual({ host: "edge-2", port: "4443" });
    next.establish();
    await settle();
    expect(old.isClosed).toBe(false);
    await old.say({ push: { publication: pub("room:1", 2) } });
    await next.welcome({ resumed: true });
    expect(old.isClosed).toBe(true);
    await next.say({ push: { subscribed: page("room:1", 1, 3) } });
    expect(offsetsOf(drain(mailbox))).toEqual([1, 2, 3]);
    expect(bench.session.stats).toMatchObject({ handovers: 1, duplicatesDropped: 1 });
    expect(bench.states.map(({ name }) => name)).not.toContain("disconnected");
  });

  test("that comes to its deadline is a reconnect like any other", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    link.end({ code: CLOSE_DRAINED, reason: "drained" });
    await later(1000);
    expect(bench.links).toHaveLength(2);
  });
});

describe("a silent path", () => {
  test("is probed, raced and given up", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    await later(25_000);
    expect(link.take("ping")).toBeDefined();
    await later(5000);
    expect(link.take("ping")).toBeDefined();
    await later(5000);
    expect(bench.links, "a second connection beside it").toHaveLength(2);
    expect(nameOf(bench)).toBe("connected");
    await later(20_000);
    expect(link.isClosed).toBe(true);
    expect(nameOf(bench)).toBe("connecting");
  });

  test("that answers stays", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    for (let round = 0; round < 5; round++) {
      await later(25_000);
      await link.reply(link.take("ping").id, { pong: {} });
    }
    expect(bench.links).toHaveLength(1);
    expect(bench.session.stats.roundTrip).toBeTypeOf("number");
  });
});

describe("the race", () => {
  const both = { transports: ["webtransport", "websocket"] as const };

  test("gives WebTransport half a second, and the first Welcome wins", async () => {
    const bench = new Bench({ transports: [...both.transports] });
    goOnline(bench.driver);
    await later(499);
    expect(bench.links.map(({ transport }) => transport)).toEqual(["webtransport"]);
    await later(2);
    expect(bench.links.map(({ transport }) => transport)).toEqual(["webtransport", "websocket"]);
    const [quic, wss] = bench.links;
    wss?.establish();
    await wss?.welcome();
    expect(bench.driver.state).toMatchObject({ name: "connected", transport: "websocket" });
    // It comes late and takes the session over.
    quic?.establish();
    await quic?.welcome({ resumed: true });
    expect(bench.driver.state).toMatchObject({ name: "connected", transport: "webtransport" });
    expect(wss?.isClosed).toBe(true);
  });

  test("does not wait where WebTransport has failed, and looks again later", async () => {
    const bench = new Bench({ transports: [...both.transports] });
    goOnline(bench.driver);
    await settle();
    bench.link.end();
    await settle();
    const wss = bench.link;
    expect(wss.transport).toBe("websocket");
    wss.establish();
    await wss.welcome();
    for (let minute = 0; minute < 6; minute++) {
      await later(25_000);
      await wss.reply(wss.take("ping").id, { pong: {} });
    }
    expect(bench.links).toHaveLength(2);
    for (let minute = 0; minute < 7; minute++) {
      await later(25_000);
      await wss.reply(wss.take("ping").id, { pong: {} });
    }
    expect(bench.link.transport).toBe("webtransport");
  });

  test("two Hellos of one session never cross", async () => {
    const bench = new Bench({ transports: [...both.transports] });
    goOnline(bench.driver);
    await later(600);
    for (const link of bench.links) link.establish();
    await settle();
    expect(bench.links.map(({ sent }) => sent.length)).toEqual([1, 0]);
  });

  test("superseded by an own Hello is a broken connection, by another client's the end", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    onNetworkChange(bench.driver, "path");
    await settle();
    bench.link.establish();
    await settle();
    link.end({ code: CLOSE_SUPERSEDED, reason: "superseded" });
    await settle();
    expect(nameOf(bench)).toBe("connecting");
    await bench.link.welcome({ resumed: true });
    bench.link.end({ code: CLOSE_SUPERSEDED, reason: "superseded" });
    await settle();
    expect(bench.driver.state).toMatchObject({
      name: "disconnected",
      error: { closeCode: CLOSE_SUPERSEDED },
    });
  });
});

describe("tokens", () => {
  test("are asked for one at a time, and before they expire", async () => {
    const token = vi.fn(async ({ reason }: { reason: string }) => `for ${reason}`);
    const bench = new Bench({ token });
    const expires = { serverTimeMs: 1_000_000, tokenExpiresAtMs: 1_000_000 + 100_000 };
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    const { hello } = await bench.link.welcome(expires);
    expect(hello?.accessToken).toBe("for connect");
    for (let round = 0; round < 3; round++) {
      await later(25_000);
      await bench.link.reply(bench.link.take("ping").id, { pong: {} });
    }
    await later(5000);
    const { id, asked } = bench.link.take("refresh");
    expect(asked.accessToken).toBe("for refresh");
    await bench.link.reply(id, { done: {} });
    expect(token).toHaveBeenCalledTimes(2);
    expect(token.mock.lastCall?.[0]).toMatchObject({ reason: "refresh", clientId: "phone-1" });
  });

  test("that come after the session has ended are of no use, and the signal says so", async () => {
    const answers: ((token: string) => void)[] = [];
    const signals: AbortSignal[] = [];
    const token = ({ signal }: { signal: AbortSignal }) => {
      signals.push(signal);
      return new Promise<string>((resolve) => answers.push(resolve));
    };
    const bench = new Bench({ token });
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    await settle();
    goOffline(bench.driver);
    expect(signals[0]?.aborted).toBe(true);
    goOnline(bench.driver);
    answers[0]?.("of the old user");
    await settle();
    bench.link.establish();
    await settle();
    expect(bench.link.sent).toEqual([]);
    answers[1]?.("of the new user");
    await settle();
    expect(bench.link.take("hello").asked.accessToken).toBe("of the new user");
  });

  test("that do not come are asked for again; a refusal ends it", async () => {
    const token = vi.fn().mockRejectedValueOnce(new Error("offline"));
    token.mockRejectedValueOnce(new SternaError("UNAUTHORIZED", "signed out"));
    const bench = new Bench({ token });
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    await settle();
    expect(token).toHaveBeenCalledTimes(1);
    await later(1000);
    expect(token).toHaveBeenCalledTimes(2);
    expect(bench.driver.state).toMatchObject({
      name: "disconnected",
      error: { message: "signed out" },
    });
  });

  test("that have expired are replaced where there is a provider, and end the session where there is none", async () => {
    const token = vi.fn(async ({ reason }: { reason: string }) => reason);
    const renewable = new Bench({ token });
    (await renewable.connect()).end({ code: CLOSE_TOKEN_EXPIRED, reason: "token expired" });
    await later(1000);
    renewable.link.establish();
    const { hello } = await renewable.link.welcome();
    expect(hello?.accessToken).toBe("expired");
    const fixed = new Bench({ token: "fixed" });
    (await fixed.connect()).end({ code: CLOSE_TOKEN_EXPIRED, reason: "token expired" });
    await settle();
    expect(fixed.driver.state).toMatchObject({
      name: "disconnected",
      error: { code: "TOKEN_EXPIRED" },
    });
  });
});

describe("the background", () => {
  test("keeps the connection for a grace, then lets the session wait on the server", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    enterBackground(bench.driver, 10_000);
    await later(9000);
    expect(nameOf(bench)).toBe("connected");
    await later(1500);
    expect(nameOf(bench)).toBe("background");
    expect(link.takeAll("goodbye"), "it is to be resumed").toEqual([]);
    expect(link.isClosed).toBe(true);
    await later(60_000);
    expect(bench.links).toHaveLength(1);
    leaveBackground(bench.driver);
    await settle();
    bench.link.establish();
    const { hello } = await bench.link.welcome({ resumed: true });
    expect(hello?.resumeTicket).toEqual(new Uint8Array([1, 2, 3]));
  });

  test("without a grace closes before anything else can happen: the page is being frozen", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    enterBackground(bench.driver, 0);
    expect(link.isClosed).toBe(true);
  });

  test("that ends in time costs a ping", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    enterBackground(bench.driver, 10_000);
    await later(5000);
    leaveBackground(bench.driver);
    await settle();
    expect(link.take("ping")).toBeDefined();
    await link.reply(1, {});
    expect(bench.links).toHaveLength(1);
  });
});

describe("a change of the network", () => {
  test("ends a wait, and makes another connection beside a WebSocket", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    onNetworkChange(bench.driver, "online");
    await settle();
    expect(bench.links).toHaveLength(2);
    expect(link.isClosed).toBe(false);
    bench.link.establish();
    await bench.link.welcome({ resumed: true });
    expect(link.isClosed).toBe(true);
    bench.link.end();
    await settle();
    onNetworkChange(bench.driver, "online");
    await settle();
    expect(bench.links).toHaveLength(3);
  });
});

describe("subscriptions", () => {
  test("are left on the server, and asked for anew only then", async () => {
    const bench = new Bench();
    const entry = bench.subscribe("room:1");
    const link = await bench.connect();
    await link.say({ push: { subscribed: page("room:1", 5, 5) } });
    bench.session.unsubscribe(entry);
    const again = bench.subscribe("room:1");
    await settle();
    const left = link.take("unsubscribe");
    await link.say({ push: { publication: pub("room:1", 6) } });
    expect(link.sent, "not before the server has answered").toEqual([]);
    await link.reply(left.id, { done: {} });
    const { id } = link.take("subscribe");
    await link.reply(id, { subscribed: page("room:1", 6, 6) });
    await link.say({ push: { publication: pub("room:1", 7) } });
    expect(offsetsOf(drain(again.mailbox))).toEqual([7]);
  });

  test("end with an error when the server says so", async () => {
    const bench = new Bench();
    const { mailbox } = bench.subscribe("room:1");
    const link = await bench.connect();
    await link.say({
      push: { unsubscribed: { channel: "room:1", error: { code: 102, message: "no" } } },
    });
    expect(drain(mailbox).at(-1)).toMatchObject({
      type: "error",
      error: { code: "PERMISSION_DENIED" },
    });
    expect(await mailbox.next()).toBeUndefined();
  });

  test("i5, i13 a reader that is slow loses nothing", async () => {
    const bench = new Bench();
    const { mailbox } = bench.subscribe("room:1", { from: "earliest" });
    const link = await bench.connect();
    await link.say({ push: { subscribed: page("room:1", 0, 1000) } });
    for (let offset = 1001; offset <= 1100; offset++) {
      await link.say({ push: { publication: pub("room:1", offset) } });
    }
    for (let typing = 0; typing < 5; typing++) {
      await link.say({ push: { ephemeral: { channel: "room:1", key: "typing" } } });
    }
    const first = drain(mailbox);
    expect(first[0]).toEqual({ type: "lagged", missed: 5 });
    await settle();
    const { id, asked } = link.take("subscribe");
    const since = asked.since?.offset as number;
    await link.reply(id, { subscribed: page("room:1", since, 1100) });
    const all = offsetsOf([...first, ...drain(mailbox)]);
    expect(all).toEqual(Array.from({ length: 1100 }, (_, at) => at + 1));
  });
});

test("numbers that no server has end the connection, and not the client", async () => {
  const bench = new Bench();
  bench.subscribe("room:1", { from: "earliest" });
  const link = await bench.connect();
  await link.say({ push: { head: { channel: "room:1", epoch: 1, offset: 2n ** 60n } } });
  expect(link.isClosed).toBe(true);
  await later(1000);
  expect(bench.links).toHaveLength(2);
});

test("what a newer server says beyond this version is passed over", async () => {
  const bench = new Bench();
  const link = await bench.connect();
  await link.say({ push: {} });
  await link.say({ reply: { id: 4_000_000_000, done: {} } });
  await link.say({ push: { publication: pub("never:subscribed", 1) } });
  expect(nameOf(bench)).toBe("connected");
});
