// The outbox: order through refusals and reconnects, bounds, retransmission, and what a store is told.
import { describe, expect, test } from "vitest";
import { SternaError } from "../src/errors.js";
import { Send } from "../src/send.js";
import { OUTBOX_LIMITS, Outbox, type OutboxLimits } from "../src/session/outbox.js";
import type { Publish } from "../src/wire/schema.js";

class Bench {
  readonly outbox: Outbox;

  constructor(limits: Partial<OutboxLimits> = {}, isStored = false) {
    this.outbox = new Outbox({ ...OUTBOX_LIMITS, ...limits }, 1, isStored);
  }

  push(channel: string, size = 1, online = true): Send {
    const payload = new Uint8Array(size);
    const send = new Send("id", channel, payload);
    this.outbox.push(publish(channel, payload), send, online);
    return send;
  }

  /** Sequence numbers of what is sent now. */
  sent(now = 0, budget = 100): number[] {
    return this.outbox.pollSend(now, 0.5, budget).map(({ clientSeq }) => Number(clientSeq));
  }
}

const publish = (channel: string, payload: Uint8Array, clientSeq = 0): Publish => ({
  channel,
  payload,
  clientSeq,
  clientMsgId: new Uint8Array(),
  clientTsMs: 0,
  kind: 0,
  targetOffset: 0,
  ordered: false,
  settledBelow: 0,
});

test("publications leave in their order, as many of a channel as its window takes", () => {
  const bench = new Bench({ channelWindow: 2 });
  for (const channel of ["a", "a", "a", "b"]) bench.push(channel);
  expect(bench.sent()).toEqual([1, 2, 4]);
  expect(bench.outbox.remove(1)?.channel).toBe("a");
  expect(bench.sent()).toEqual([3]);
  expect(bench.sent()).toEqual([]);
});

test("every one asks the server to keep the order", () => {
  const bench = new Bench();
  bench.push("a");
  expect(bench.outbox.pollSend(0, 0, 1)[0]).toMatchObject({ clientSeq: 1, ordered: true });
});

test("what the server wants later holds its channel, and no other, until all is answered", () => {
  const bench = new Bench();
  for (const channel of ["a", "a", "a", "b"]) bench.push(channel);
  expect(bench.sent(0, 2)).toEqual([1, 2]);
  bench.outbox.hold(1, 100);
  expect(bench.sent(0)).toEqual([4]);
  expect(bench.sent(100), "2 may have been refused, too").toEqual([]);
  bench.outbox.hold(2, 50);
  expect(bench.sent(100)).toEqual([1, 2, 3]);
});

test("i13 each publication says from where on the channel is not settled", () => {
  const bench = new Bench();
  for (const channel of ["a", "b", "a", "a"]) bench.push(channel);
  const settled = () =>
    bench.outbox
      .pollSend(0, 0, 100)
      .map(({ clientSeq, settledBelow }) => [clientSeq, settledBelow]);
  expect(settled()).toEqual([
    [1, 1],
    [2, 2],
    [3, 1],
    [4, 1],
  ]);
  bench.outbox.remove(3);
  bench.outbox.hold(4, 0);
  expect(settled(), "1 has no answer").toEqual([]);
  bench.outbox.remove(1);
  expect(settled()).toEqual([[4, 4]]);
  bench.outbox.handleDisconnected();
  bench.push("a");
  expect(settled()).toEqual([
    [2, 2],
    [4, 4],
    [5, 4],
  ]);
});

test("a reconnect sends what was not answered first, in order", () => {
  const bench = new Bench();
  for (let count = 0; count < 4; count++) bench.push("a");
  expect(bench.sent(0, 3)).toEqual([1, 2, 3]);
  bench.outbox.remove(2);
  bench.outbox.handleDisconnected();
  expect(bench.outbox.inFlight).toBe(0);
  expect(bench.sent()).toEqual([1, 3, 4]);
});

test("three retransmissions with growing pauses, then not sent, until the next connection", () => {
  const bench = new Bench();
  const send = bench.push("a");
  bench.push("a");
  expect(bench.sent(0, 1)).toEqual([1]);
  const pauses = [];
  let now = 0;
  for (let count = 0; count < 4; count++) {
    const due = bench.outbox.deadline();
    pauses.push(due - now);
    expect(bench.outbox.pollResend(due - 1, 0.5)).toEqual([]);
    expect(bench.outbox.pollResend(due, 0.5)).toHaveLength(count < 3 ? 1 : 0);
    now = due;
  }
  expect(pauses).toEqual([1000, 2000, 4000, 8000]);
  expect(send.state.name).toBe("notSent");
  expect(bench.sent(now), "it holds its channel").toEqual([]);
  bench.outbox.handleDisconnected();
  expect(bench.sent(now)).toEqual([1, 2]);
});

describe("at its bounds", () => {
  const failure = (send: Send) => send.state.name === "failed" && send.state.error.code;

  test("the new one is refused", () => {
    const bench = new Bench({ publications: 2 });
    const sends = [bench.push("a"), bench.push("a"), bench.push("a")];
    expect(sends.map(failure)).toEqual([false, false, "QUEUE_FULL"]);
    expect(bench.outbox.size).toBe(2);
  });

  test("bytes count as well", () => {
    const bench = new Bench({ bytes: 10 });
    expect([bench.push("a", 11), bench.push("a", 8), bench.push("a", 3)].map(failure)).toEqual([
      "TOO_LARGE",
      false,
      "QUEUE_FULL",
    ]);
    bench.outbox.remove(1);
    expect(failure(bench.push("a", 10))).toBe(false);
  });

  test("the oldest that has not left goes, if it is enough", () => {
    const bench = new Bench({ publications: 2, policy: "dropOldest" });
    const [first, second] = [bench.push("a"), bench.push("a")];
    expect(bench.sent(0, 1)).toEqual([1]);
    const third = bench.push("a");
    expect([first, second, third].map(failure)).toEqual([false, "QUEUE_FULL", false]);
    bench.outbox.handleDisconnected();
    bench.sent(0);
    expect(failure(bench.push("a")), "the server may have both").toBe("QUEUE_FULL");
  });

  test("without a connection there is a policy that refuses at once", () => {
    const bench = new Bench({ policy: "failWhenOffline" });
    expect(failure(bench.push("a", 1, false))).toBe("DISCONNECTED");
    expect(failure(bench.push("a", 1, true))).toBe(false);
  });
});

describe("with a store", () => {
  test("nothing is sent before it is saved, and the store hears of everything", () => {
    const bench = new Bench({}, true);
    bench.push("a");
    expect(bench.sent()).toEqual([]);
    expect(bench.outbox.takeChanges()).toMatchObject([{ insert: { clientSeq: 1, channel: "a" } }]);
    bench.outbox.handleSaved([1]);
    expect(bench.sent()).toEqual([1]);
    bench.outbox.handleDisconnected();
    expect(bench.sent()).toEqual([1]);
    bench.outbox.remove(1);
    expect(bench.outbox.takeChanges()).toEqual([{ attempted: 1 }, { remove: 1 }]);
  });

  test("what it does not take is not sent", () => {
    const bench = new Bench({}, true);
    const send = bench.push("a");
    bench.outbox.handleNotSaved([1], new SternaError("OUTBOX_STORE", "full"));
    expect(send.state).toMatchObject({ name: "failed", error: { code: "OUTBOX_STORE" } });
    expect(bench.outbox.size).toBe(0);
  });

  test("what an earlier client has left goes first, and numbers go on above it", () => {
    const bench = new Bench({}, true);
    const send = new Send("id", "a", new Uint8Array());
    const stored = { publish: publish("a", new Uint8Array(), 70), attempted: true };
    bench.outbox.restore(stored, send);
    bench.push("a");
    expect(bench.outbox.takeChanges()).toMatchObject([{ insert: { clientSeq: 71 } }]);
    bench.outbox.handleSaved([71]);
    expect(bench.sent()).toEqual([70, 71]);
  });

  test("the end of the client leaves the store as it is", () => {
    const bench = new Bench({}, true);
    const send = bench.push("a");
    bench.outbox.takeChanges();
    bench.outbox.failAll(new SternaError("CLOSED", "closed"));
    expect(send.state.name).toBe("failed");
    expect(bench.outbox.takeChanges()).toEqual([]);
  });
});
