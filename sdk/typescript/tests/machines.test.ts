// The small machines that decide about time: back-off, silence, head starts, the background, ids in flight.
import { describe, expect, test } from "vitest";
import { Background } from "../src/session/background.js";
import { Backoff, retransmitAfter } from "../src/session/backoff.js";
import { InFlights, LATE_ANSWERS } from "../src/session/in-flight.js";
import { Liveness } from "../src/session/liveness.js";
import { NEVER } from "../src/session/never.js";
import { Race } from "../src/session/race.js";

test("waits double to their cap, and a good connection forgets them", () => {
  const backoff = new Backoff();
  const waits = Array.from({ length: 8 }, () => backoff.onFailure(1));
  expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
  expect(backoff.onLost(11_000, 1)).toBe(0);
  expect(backoff.onLost(9000, 1)).toBe(500);
  expect(backoff.onFailure(0), "full jitter").toBe(0);
  expect([0, 0.5, 1].map((chance) => Math.round(retransmitAfter(0, chance)))).toEqual([
    800, 1000, 1200,
  ]);
});

describe("silence", () => {
  const run = (liveness: Liveness, seconds: number) => {
    const actions: [number, string][] = [];
    for (let at = 0; at <= seconds; at++) {
      for (let action = liveness.poll(1000 * at); action; action = liveness.poll(1000 * at)) {
        actions.push([at, action]);
        if (action === "ping") liveness.onSent(1000 * at, true);
        if (action === "dead") return actions;
      }
    }
    return actions;
  };

  test("without anything owed is a ping at the heartbeat; the unanswered one leads to the end", () => {
    expect(run(new Liveness(25_000, 0), 60)).toEqual([
      [25, "ping"],
      [30, "ping"],
      [35, "race"],
      [43, "race"],
      [51, "race"],
      [55, "dead"],
    ]);
  });

  test("is counted from what was heard last, while more is owed", () => {
    const liveness = new Liveness(25_000, 0);
    liveness.onSent(0, true);
    liveness.onReceived(4000, true);
    expect(liveness.deadline()).toBe(9000);
    expect(liveness.poll(9000)).toBe("ping");
    liveness.onReceived(9500, false);
    expect(liveness.deadline(), "from what was sent last").toBe(25_000);
  });

  test("is never probed in a tight loop", () => {
    expect(new Liveness(0, 0).deadline()).toBe(100);
  });
});

describe("head starts", () => {
  const headStart = (race: Race) => race.plan().find(([name]) => name === "websocket")?.[1];

  test("follow what the network has shown", () => {
    const race = new Race(["webtransport", "websocket"]);
    expect(race.plan()).toEqual([
      ["webtransport", 0],
      ["websocket", 500],
    ]);
    for (const [took, start] of [
      [10, 250],
      [400, 600],
      [5000, 1000],
    ] as const) {
      race.onConnected(took);
      expect(headStart(race)).toBe(start);
    }
    race.onFailed(0);
    expect(headStart(race)).toBe(0);
    race.onNetworkChange(0);
    expect(headStart(race)).toBe(500);
    expect(new Race(["websocket"]).plan()).toEqual([["websocket", 0]]);
    expect(race.planUrgent().map(([, after]) => after)).toEqual([0, 0]);
  });

  test("WebTransport is looked for again ever more seldom, once a day at least", () => {
    const race = new Race(["webtransport", "websocket"]);
    const minutes = Array.from({ length: 10 }, () => {
      race.onFailed(0);
      return race.probeAt / 60_000;
    });
    expect(minutes).toEqual([5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440]);
    race.onConnected(1);
    expect(race.probeAt).toBe(NEVER);
  });
});

test("the background keeps what is there for a grace, and nothing that is not", () => {
  const background = new Background();
  expect(background.leave()).toBe(false);
  background.enter(0, 100);
  background.enter(50, 1000);
  expect(background.deadline(), "said twice, counted once").toBe(100);
  expect([background.mayAttempt, background.pollSleep(99, false)]).toEqual([false, false]);
  expect([background.pollSleep(100, false), background.isAsleep]).toEqual([true, true]);
  expect(background.pollSleep(200, true), "once").toBe(false);
  expect([background.leave(), background.mayAttempt]).toEqual([true, true]);
  background.enter(300, 100);
  expect(background.pollSleep(300, true), "there is nothing to keep").toBe(true);
});

test("i12 late answers are known as such, and only so many are remembered", () => {
  const inFlight = new InFlights();
  const ids = Array.from({ length: LATE_ANSWERS + 1 }, () =>
    inFlight.insert({ verb: "refresh" }, 0),
  );
  const inTime = inFlight.insert({ verb: "publish", seq: 7 }, 3000);
  expect(inFlight.expire(5000, 5000)).toHaveLength(LATE_ANSWERS + 1);
  expect(inFlight.deadline(5000)).toBe(8000);
  expect(inFlight.take(inTime)).toEqual({ asked: { verb: "publish", seq: 7 }, late: false });
  expect(inFlight.take(ids[0] as number), "forgotten").toBeUndefined();
  expect(inFlight.take(ids[1] as number)).toEqual({ asked: { verb: "refresh" }, late: true });
  expect(inFlight.take(ids[1] as number), "one answer each").toBeUndefined();
});
