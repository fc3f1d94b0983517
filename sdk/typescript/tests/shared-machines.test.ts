// What a worker that shares its connection is made of: what it keeps, whose turn it is, whom it asks, how much
// waits for a tab.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { TokenRequest } from "../src/index.js";
import { clientLockOf, lockOf, orphanOf, PORT_BYTES, PORT_FRAMES } from "../src/shared/messages.js";
import { Outlet } from "../src/shared/outlet.js";
import { Turns } from "../src/shared/sends.js";
import { Tab } from "../src/shared/tab.js";
import { TAIL_PUBLICATIONS, Tail } from "../src/shared/tail.js";
import { Tokens } from "../src/shared/tokens.js";
import { upTo } from "./support/tabs.js";
import { pub } from "./support/transport.js";

/** A port, and all that was said through it. */
function newPort() {
  const said: Record<string, unknown>[] = [];
  const port = {
    onmessage: null,
    postMessage: (message: unknown) => said.push(message as Record<string, unknown>),
    close: () => {},
  };
  return { outlet: new Outlet(port), said };
}

test("what is redacted stays in the tail without its payload", () => {
  const tail = new Tail();
  tail.restart({ epoch: 2, offset: 0 });
  for (const offset of [1, 2, 3]) {
    tail.add({ ...pub("room:1", offset), payload: new Uint8Array(8), redacted: false } as never);
  }
  const kept = () =>
    tail.after({ epoch: 2, offset: 0 }, 9)?.map((each) => [each.payload.length, each.redacted]);
  tail.redact(2);
  tail.redact(7);
  expect(kept()).toEqual([
    [8, false],
    [0, true],
    [8, false],
  ]);
  tail.redact(0);
  expect(kept()).toEqual([
    [0, true],
    [0, true],
    [0, true],
  ]);
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

test("i12 only so much waits unread in a port, and the tab is told when there is room again", async () => {
  const { outlet, said } = newPort();
  let roomy = 0;
  outlet.onRoom = () => roomy++;
  const push = (bytes = 0) => outlet.push({ presenceGap: { channel: "a" } }, bytes);
  for (let at = 0; at < PORT_FRAMES; at++) expect(push()).toBe(true);
  expect(push()).toBe(false);
  await Promise.resolve();
  expect(said).toHaveLength(1);
  outlet.onTook({ frames: PORT_FRAMES / 2 - 1, bytes: 0 });
  expect(roomy).toBe(0);
  outlet.onTook({ frames: 1, bytes: 0 });
  expect(roomy).toBe(1);
  outlet.onTook({ frames: PORT_FRAMES / 2, bytes: 0 });
  expect([push(PORT_BYTES), push(1)]).toEqual([true, false]);
  // An answer goes all the same, and what is over takes nothing.
  outlet.reply(1, { done: {} });
  outlet.end({ reason: "over" });
  expect(said.at(-1)).toEqual({ ended: { reason: "over" } });
  expect(said.at(-2)).toMatchObject({ frames: [{}, { reply: { id: 1 } }] });
  expect(push()).toBe(false);
});

describe("the token is asked of", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function asking(count: number) {
    const ports = Array.from({ length: count }, newPort);
    const tabs = ports.map(({ outlet }) => {
      const tab = new Tab();
      tab.isWanting = true;
      tab.outlets.add(outlet);
      return tab;
    });
    const tokens = new Tokens(() => tabs);
    const ends = new AbortController();
    const request = { reason: "connect", clientId: "c", signal: ends.signal } as TokenRequest;
    const asked = () => ports.map(({ said }) => said.filter((each) => "ask" in each).length);
    return { ports, tabs, tokens, ends, asked, answer: tokens.ask(request) };
  }

  test("one tab, then the next when that says nothing, and the first answer counts", async () => {
    const { asked, tokens, answer } = asking(3);
    expect(asked()).toEqual([1, 0, 0]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(asked()).toEqual([1, 1, 0]);
    tokens.onAnswer({ ask: 1, token: "late but first" });
    expect(await answer).toBe("late but first");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked()).toEqual([1, 1, 0]);
  });

  test("who is awake before who is not, and nobody who has signed out", async () => {
    const { tabs, tokens, asked, answer } = asking(1);
    const { outlet, said } = newPort();
    const sleepy = Object.assign(new Tab(), { isWanting: true, awayAfter: 0 });
    sleepy.outlets.add(outlet);
    tabs.push(Object.assign(new Tab(), { outlets: new Set([newPort().outlet]) }), sleepy);
    const [first] = tabs.splice(0, 1) as [Tab];
    expect(asked()).toEqual([1]);
    tokens.onGone(first);
    expect(said).toMatchObject([{ ask: 1 }]);
    tokens.onAnswer({ ask: 1, token: "of the sleepy one" });
    expect(await answer).toBe("of the sleepy one");
  });

  test("nobody in vain: without tabs, and when nobody needs it any more, there is an error", async () => {
    await expect(asking(0).answer).rejects.toMatchObject({ code: "UNAUTHORIZED", retryable: true });
    const { ends, answer, ports } = asking(1);
    ends.abort();
    await expect(answer).rejects.toMatchObject({ retryable: true });
    expect(ports[0]?.said.at(-1)).toEqual({ forget: 1 });
  });

  test("i1 refusals of a provider keep what they say", async () => {
    const { tokens, answer } = asking(1);
    const error = { code: "UNAUTHORIZED", message: "no", retryable: false, retryAfter: undefined };
    tokens.onAnswer({ ask: 1, error: { ...error, code: "UNAUTHORIZED" } });
    await expect(answer).rejects.toMatchObject({ code: "UNAUTHORIZED", retryable: false });
  });
});

test("i1 a worker goes on under the client id of one that is dead, and of no other", () => {
  const held = (name: string, mode: LockMode) => ({ name, mode, clientId: "" });
  const of = (worker: string, key: string) =>
    held(clientLockOf(worker, `id-${worker}`, key), "shared");
  const alive = held(lockOf("alive"), "exclusive");
  expect(orphanOf([of("dead", "a b")], "a b")).toBe("id-dead");
  expect(orphanOf([of("dead", "other"), of("alive", "a"), alive], "a")).toBeUndefined();
  // Who waits for the end of a worker has its lock for a moment.
  expect(orphanOf([of("dead", "a"), held(lockOf("dead"), "shared")], "a")).toBe("id-dead");
});
