// The session over scripted connections in fake time: resume, retransmission, order, tokens, subscriptions,
// and servers that say what no server says.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { goOffline, goOnline } from "../src/driver/steps.js";
import { SternaError } from "../src/errors.js";
import { CLOSE_TOKEN_EXPIRED } from "../src/wire/codes.js";
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

  test("that are left twice are left once the server has answered for the second time", async () => {
    const bench = new Bench();
    const first = bench.subscribe("room:1");
    const link = await bench.connect();
    bench.session.unsubscribe(first);
    const second = bench.subscribe("room:1");
    await settle();
    const early = link.take("unsubscribe");
    bench.session.unsubscribe(second);
    bench.subscribe("room:1");
    bench.driver.wake();
    await settle();
    const late = link.take("unsubscribe");
    await link.reply(early.id, { done: {} });
    expect(link.sent, "this answer is about the first").toEqual([]);
    await link.reply(late.id, { done: {} });
    expect(link.take("subscribe")).toBeDefined();
  });

  test("with presence hear of what was missed, and of another session", async () => {
    const bench = new Bench();
    const { mailbox } = bench.subscribe("room:1", { presence: true });
    const link = await bench.connect();
    const gaps = () => drain(mailbox).filter(({ type }) => type === "presenceGap").length;
    expect(gaps()).toBe(0);
    await link.say({ push: { presenceGap: { channel: "room:1" } } });
    expect(gaps()).toBe(1);
    const { link: next } = await bench.reconnect({ resumed: true });
    expect(gaps(), "the node knows what was missed").toBe(0);
    next.end();
    await later(1000);
    bench.link.establish();
    await bench.link.welcome({ resumed: false });
    expect(gaps()).toBe(1);
  });

  test("repeat a change of activity that was refused for the moment", async () => {
    const bench = new Bench();
    const entry = bench.subscribe("room:1");
    const link = await bench.connect();
    await link.say({ push: { subscribed: page("room:1", 5, 5) } });
    bench.session.setActivity(entry, "background");
    bench.driver.wake();
    await settle();
    await link.reply(link.take("setActivity").id, { error: { code: 107, retryAfterMs: 700 } });
    await later(600);
    expect(link.sent).toEqual([]);
    await later(200);
    const again = link.take("setActivity");
    expect(again.asked.activity).toBe(2);
    // A node that knows no classes says so once, and pushes everything.
    await link.reply(again.id, { error: { code: 104 } });
    await later(2000);
    expect(link.sent).toEqual([]);
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

test("what comes together is heard in order, up to what ends the connection", async () => {
  const bench = new Bench();
  const { mailbox } = bench.subscribe("room:1", { from: "earliest" });
  const link = await bench.connect();
  await link.say({ push: { subscribed: page("room:1", 0, 1) } });
  await link.say(
    { push: { publication: pub("room:1", 2) } },
    { push: { head: { channel: "room:1", epoch: 1, offset: 2n ** 60n } } },
    { push: { publication: pub("room:1", 3) } },
  );
  expect(offsetsOf(drain(mailbox))).toEqual([1, 2]);
});

test("what a newer server says beyond this version is passed over", async () => {
  const bench = new Bench();
  const link = await bench.connect();
  await link.say({ push: {} });
  await link.say({ reply: { id: 4_000_000_000, done: {} } });
  await link.say({ push: { publication: pub("never:subscribed", 1) } });
  expect(nameOf(bench)).toBe("connected");
});
