// The driver over scripted connections in fake time: attempts, races, drains, dead paths, the background, and
// changes of the network.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EARLY_FRAMES } from "../src/driver/attempt.js";
import {
  enterBackground,
  goOnline,
  leaveBackground,
  onNetworkChange,
} from "../src/driver/steps.js";
import { CLOSE_DRAINED, CLOSE_REVOKED, CLOSE_SUPERSEDED } from "../src/wire/codes.js";
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

  test("a Hello that nobody else could say waits for its answer", async () => {
    const bench = new Bench();
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    await later(11_000);
    expect(bench.links).toHaveLength(1);
    await bench.link.welcome();
    expect(nameOf(bench)).toBe("connected");
  });

  test("a Hello that nobody answers makes room for a candidate that is ready", async () => {
    const bench = new Bench({ transports: ["webtransport", "websocket"] });
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    await later(600);
    const [silent, other] = bench.links;
    other?.establish();
    await later(2000);
    expect(other?.sent).toEqual([]);
    await later(1000);
    expect(silent?.isClosed).toBe(true);
    await other?.welcome();
    expect(bench.driver.state).toMatchObject({ name: "connected", transport: "websocket" });
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

  test("what the device is connected through is said in the Hello", async () => {
    const bench = new Bench();
    bench.session.network = "wifi";
    goOnline(bench.driver);
    await settle();
    bench.link.establish();
    await settle();
    expect(bench.link.take("hello").asked.network).toBe(1);
  });

  test("what the device is connected through now is said with every ping", async () => {
    const bench = new Bench();
    const link = await bench.connect();
    const pinged = async () => {
      onNetworkChange(bench.driver, "wake");
      await settle();
      return link.take("ping").asked.network;
    };
    bench.session.network = "cellular";
    expect(await pinged()).toBe(2);
    bench.session.network = undefined;
    vi.stubGlobal("navigator", { connection: { type: "ethernet" } });
    expect(await pinged()).toBe(3);
    vi.stubGlobal("navigator", { connection: { type: "wimax" } });
    expect(await pinged(), "known to browsers only").toBe(0);
    vi.unstubAllGlobals();
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
