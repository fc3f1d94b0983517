// A subscription's machine against lost, doubled and late pushes, new epochs and readers without room.
import { expect, test } from "vitest";
import { decodeDatagram, encodeDatagram } from "../src/codec/frames.js";
import type { Init } from "../src/codec/message.js";
import { newStatistics, Publication, type SubscriptionEvent } from "../src/events.js";
import { ROOM_TO_GO_ON } from "../src/mailbox.js";
import type { SubscribeOptions } from "../src/options.js";
import {
  activityDeadline,
  onActivityRefused,
  onActivitySaid,
  pollActivity,
  setActivity,
  showHead,
} from "../src/session/subscription/activity.js";
import { handleSubscribed } from "../src/session/subscription/answer.js";
import { Machine } from "../src/session/subscription/machine.js";
import { handlePublication } from "../src/session/subscription/pushes.js";
import type { Subscribed } from "../src/wire/schema.js";
import { offsetsOf, page, pub } from "./support/transport.js";

const ROOM = 1000;
const PATIENCE = 5000;

/** A machine with its log of events. */
class Bench {
  readonly counts = newStatistics();
  readonly machine: Machine;
  events: SubscriptionEvent[] = [];

  constructor(options: SubscribeOptions = {}) {
    this.machine = new Machine("room:1", options, PATIENCE, this.counts);
  }

  answer(reply: Init<Subscribed>, now = 0, room = ROOM): void {
    const frame = decodeDatagram(encodeDatagram({ reply: { subscribed: reply } }));
    const batch = { room, events: this.events };
    handleSubscribed(this.machine, frame.reply?.subscribed as Subscribed, now, batch);
  }

  push(offset: number, epoch = 1, room = ROOM): void {
    const publication = {
      clientMsgId: new Uint8Array(),
      sender: "",
      id: 0,
      ...pub("room:1", offset, epoch),
    };
    const wire = decodeDatagram(encodeDatagram({ push: { publication } })).push?.publication;
    if (wire) handlePublication(this.machine, new Publication(wire), { room, events: this.events });
  }

  head(offset: number, epoch = 1): void {
    this.machine.handleHead({ epoch, offset });
    showHead(this.machine, { room: ROOM, events: this.events });
  }

  /** What happened since the last look. */
  take(): SubscriptionEvent[] {
    return this.events.splice(0);
  }

  offsets(): number[] {
    return offsetsOf(this.take());
  }
}

function liveAt(offset: number, epoch = 1, options: SubscribeOptions = {}): Bench {
  const bench = new Bench(options);
  expect(bench.machine.pollAsk(0, ROOM)?.since).toEqual(bench.machine.position);
  bench.answer(page("room:1", offset, offset, true, epoch));
  bench.take();
  return bench;
}

test("pushes that overtake the answer wait for it", () => {
  const bench = new Bench();
  bench.machine.pollAsk(0, ROOM);
  bench.push(6);
  expect(bench.events).toEqual([]);
  bench.answer(page("room:1", 5, 5));
  const events = bench.take();
  expect(events[0]).toMatchObject({ type: "state", state: "subscribed", wasRecovering: false });
  expect(offsetsOf(events)).toEqual([6]);
});

test("i13 duplicates are dropped, i5 a hole is fetched", () => {
  const bench = liveAt(5);
  for (const offset of [6, 6, 5, 9]) bench.push(offset);
  expect(bench.offsets()).toEqual([6]);
  expect(bench.counts.duplicatesDropped).toBe(2);
  expect(bench.machine.pollAsk(0, ROOM)?.since).toEqual({ epoch: 1, offset: 6 });
  bench.answer(page("room:1", 6, 8));
  const events = bench.take();
  expect(offsetsOf(events)).toEqual([7, 8, 9]);
  expect(events).toContainEqual({ type: "recovered", publications: 2 });
  expect(bench.counts.gapsRecovered).toBe(1);
});

test("not live means asking again, and a head above starts recovery", () => {
  const bench = new Bench({ from: "earliest" });
  bench.machine.pollAsk(0, ROOM);
  bench.answer(page("room:1", 0, 3, false));
  expect(bench.machine.pollAsk(0, ROOM)?.since).toEqual({ epoch: 1, offset: 3 });
  bench.answer(page("room:1", 3, 4));
  expect(bench.offsets()).toEqual([1, 2, 3, 4]);
  bench.head(4);
  expect(bench.machine.pollAsk(0, ROOM)).toBeUndefined();
  bench.head(5);
  expect(bench.machine.pollAsk(0, ROOM)).toBeDefined();
});

test("a new epoch is followed and named", () => {
  const bench = liveAt(9);
  bench.push(8, 2);
  expect(bench.machine.pollAsk(0, ROOM)).toBeDefined();
  const change = { oldEpoch: 1, newEpoch: 2, keepUpto: 7 };
  bench.answer({ ...page("room:1", 7, 8, true, 2), epochChange: change });
  const events = bench.take();
  expect(events[0]).toEqual({ type: "epoch", old: 1, new: 2, keepUpto: 7 });
  expect(offsetsOf(events)).toEqual([8]);
  expect(bench.machine.position).toEqual({ epoch: 2, offset: 8 });
});

test("a page may span epochs, whose opening is not shown", () => {
  const bench = liveAt(7);
  bench.machine.handleDetached();
  bench.machine.pollAsk(0, ROOM);
  const opening = { ...pub("room:1", 10, 2), kind: 5 };
  const publications = [pub("room:1", 8), pub("room:1", 9), opening, pub("room:1", 11, 2)];
  bench.answer({ position: { epoch: 2, offset: 11 }, publications, live: true, headOffset: 11 });
  const events = bench.take();
  expect(offsetsOf(events)).toEqual([8, 9, 11]);
  const position = { epoch: 2, offset: 11 };
  const state = {
    type: "state",
    state: "subscribed",
    position,
    wasRecovering: true,
    recovered: true,
  };
  expect(events.at(-1)).toEqual(state);
  // A late answer from before the change takes nothing back.
  bench.answer(page("room:1", 11, 12));
  bench.push(12, 2);
  expect(bench.offsets()).toEqual([12]);
  expect(bench.machine.pollAsk(0, ROOM)).toBeUndefined();
});

test("a push of an older epoch belongs to a history that is gone", () => {
  const bench = liveAt(8, 2);
  bench.push(9, 1);
  expect(bench.offsets()).toEqual([]);
  bench.push(9, 2);
  expect(bench.offsets()).toEqual([9]);
});

test("a position from the future is taken back", () => {
  const bench = new Bench({ from: { epoch: 1, offset: 9 } });
  bench.machine.pollAsk(0, ROOM);
  const epochChange = { oldEpoch: 1, newEpoch: 1, keepUpto: 5 };
  bench.answer({ ...page("room:1", 5, 5), epochChange });
  bench.push(6);
  expect(bench.offsets()).toEqual([6]);
});

test.each([1, 2])("publication %d of a new channel may overtake the answer", (overtaking) => {
  const bench = new Bench({ from: "earliest" });
  bench.machine.pollAsk(0, ROOM);
  bench.push(overtaking, 7);
  bench.answer({ position: { epoch: 0, offset: 0 }, live: true });
  if (overtaking > 1) {
    expect(bench.machine.pollAsk(0, ROOM), "no hot loop").toBeUndefined();
    expect(bench.machine.pollAsk(bench.machine.at, ROOM)?.since).toEqual({ epoch: 0, offset: 0 });
    bench.answer(page("room:1", 0, 2, true, 7));
  }
  expect(bench.offsets()).toEqual(overtaking > 1 ? [1, 2] : [1]);
  expect(bench.machine.position).toEqual({ epoch: 7, offset: overtaking });
});

test("an unanswered question is asked ever more seldom until something is answered", () => {
  const bench = new Bench({ from: "earliest" });
  const { machine } = bench;
  let now = 0;
  const pauses = [];
  for (let round = 0; round < 8; round++) {
    expect(machine.pollAsk(now, ROOM)).toBeDefined();
    const overdue = machine.answerDeadline();
    machine.handleTimeout(overdue - 1, 1);
    expect(machine.phase).toBe("asking");
    machine.handleTimeout(overdue, 1);
    now = machine.at;
    expect(machine.pollAsk(now - 1, ROOM)).toBeUndefined();
    pauses.push(now - overdue);
  }
  expect(pauses).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
  bench.answer(page("room:1", 0, 3, false), now);
  expect(bench.offsets(), "an answer that comes late is an answer").toEqual([1, 2, 3]);
});

test("lost pushes are asked for", () => {
  const { machine } = liveAt(5);
  machine.handlePushesLost();
  expect(machine.pollAsk(0, ROOM)).toBeDefined();
  expect(machine.pollAsk(0, ROOM)).toBeUndefined();
  machine.handlePushesLost();
  expect(machine.pollAsk(0, ROOM)).toBeDefined();
});

test("i5 what the server no longer has is a named gap, and nothing is called recovered", () => {
  const bench = new Bench({ from: { epoch: 1, offset: 2 } });
  bench.machine.pollAsk(0, ROOM);
  bench.answer({ ...page("room:1", 5, 7), gap: { epoch: 1, afterOffset: 2, uptoOffset: 5 } });
  const events = bench.take();
  expect(events[0]).toEqual({ type: "gap", epoch: 1, after: 2, upto: 5 });
  expect(offsetsOf(events)).toEqual([6, 7]);
  expect(events.at(-1)).toMatchObject({ type: "state", wasRecovering: true, recovered: false });
});

test("without room nothing is taken until there is some", () => {
  const bench = liveAt(0);
  bench.push(1, 1, 1);
  bench.push(2, 1, 0);
  bench.push(3, 1, 0);
  expect(bench.offsets()).toEqual([1]);
  expect(bench.machine.pollAsk(0, ROOM_TO_GO_ON - 1)).toBeUndefined();
  expect(bench.machine.pollAsk(0, ROOM_TO_GO_ON)?.since).toEqual({ epoch: 1, offset: 1 });
  bench.answer(page("room:1", 1, 3));
  expect(bench.offsets()).toEqual([2, 3]);
});

test("i13 what the background held back comes once and in order", () => {
  const bench = new Bench({ from: { epoch: 1, offset: 5 }, activity: "background" });
  expect(bench.machine.pollAsk(0, ROOM)?.activity).toBe(2);
  bench.answer({ position: { epoch: 1, offset: 5 }, live: true, headOffset: 7 });
  expect(bench.take().at(-1)).toEqual({ type: "head", position: { epoch: 1, offset: 7 } });
  expect(bench.machine.pollAsk(0, ROOM), "it is not wanted").toBeUndefined();
  bench.head(7);
  expect(bench.take(), "that was known").toEqual([]);
  bench.head(9);
  expect(bench.take()).toEqual([{ type: "head", position: { epoch: 1, offset: 9 } }]);
  setActivity(bench.machine, "active");
  expect(pollActivity(bench.machine, 0), "the question says it").toBeUndefined();
  expect(bench.machine.pollAsk(0, ROOM)).toMatchObject({ since: { offset: 5 }, activity: 0 });
  bench.answer(page("room:1", 5, 9));
  expect(bench.offsets()).toEqual([6, 7, 8, 9]);
  expect(bench.counts.gapsRecovered, "nothing was lost").toBe(0);
});

test("a change of activity without news is one word and said once", () => {
  const { machine } = liveAt(5);
  setActivity(machine, "foreground");
  expect(pollActivity(machine, 0)).toBe("foreground");
  setActivity(machine, "background");
  expect(pollActivity(machine, 0), "one at a time").toBeUndefined();
  onActivitySaid(machine);
  expect(pollActivity(machine, 0)).toBe("background");
  onActivitySaid(machine);
  expect(pollActivity(machine, 0)).toBeUndefined();
});

test("a word that was refused for the moment is said again, and the newest wish wins", () => {
  const { machine } = liveAt(5);
  setActivity(machine, "background");
  expect(pollActivity(machine, 0)).toBe("background");
  onActivityRefused(machine, 2000);
  expect([pollActivity(machine, 1999), activityDeadline(machine)]).toEqual([undefined, 2000]);
  setActivity(machine, "foreground");
  expect(pollActivity(machine, 2000)).toBe("foreground");
  onActivityRefused(machine, 3000);
  setActivity(machine, "active");
  expect(pollActivity(machine, 9000), "that is what the node was told first").toBeUndefined();
});

test("what a question has said since need not be said again", () => {
  const { machine } = liveAt(5);
  setActivity(machine, "foreground");
  expect(pollActivity(machine, 0)).toBe("foreground");
  machine.handlePushesLost();
  expect(machine.pollAsk(0, ROOM)?.activity).toBe(1);
  onActivityRefused(machine, 100);
  machine.phase = "live";
  expect(pollActivity(machine, 100)).toBeUndefined();
});

/** A generator of chance that repeats itself. */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/**
 * Pushes lost, repeated and out of order, connections cut, rooms of all sizes: with a log that answers, the
 * application sees every offset once and in order.
 */
test("i13 every offset once and in order, in 300 histories of chance", () => {
  const HEAD = 40;
  // The log went into another epoch on its way, and lost nothing.
  const epochOf = (offset: number) => (offset <= 20 ? 1 : 2);
  for (let seed = 1; seed <= 300; seed++) {
    const random = chance(seed);
    const bench = new Bench({ from: "earliest" });
    const { machine } = bench;
    let now = 0;
    const answer = (room: number) => {
      machine.handleTimeout(now, 0);
      const ask = machine.pollAsk(now, room);
      if (!ask) return;
      const since = ask.since?.offset as number;
      const upto = Math.min(HEAD, since + 5, since + (ask.pagePublications as number));
      const reply = page("room:1", since, upto, upto === HEAD, 2);
      for (const each of reply.publications) each.epoch = epochOf(each.offset as number);
      bench.answer(reply, now, room);
    };
    for (let step = 0; step < 150; step++) {
      now += 700;
      const offset = 1 + random(HEAD - 1);
      const room = random(6);
      const kind = random(5);
      if (kind === 0) machine.handleDetached();
      else if (kind === 1) answer(room);
      else if (kind === 2) bench.head(offset, epochOf(offset));
      else bench.push(offset, epochOf(offset), room);
    }
    bench.head(HEAD, 2);
    for (let round = 0; round < 40; round++) {
      now += 11_000;
      answer(ROOM);
    }
    const wanted = Array.from({ length: HEAD }, (_, at) => at + 1);
    expect(bench.offsets(), `seed ${seed}`).toEqual(wanted);
  }
});
