// The outbox in IndexedDB: what one page has left the next one sends, under the same keys.
import "fake-indexeddb/auto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Client, type WebSocketConstructor } from "../src/index.js";
import { openOutbox } from "../src/outbox-idb.js";
import type { Publish } from "../src/wire/schema.js";

const publish = (clientSeq: number): Publish => ({
  channel: "room:1",
  payload: new Uint8Array([clientSeq]),
  clientSeq,
  clientMsgId: new Uint8Array(16).fill(clientSeq),
  clientTsMs: 0,
  kind: 0,
  targetOffset: 0,
  ordered: true,
  settledBelow: 0,
});

afterEach(() => vi.unstubAllGlobals());

test("keeps what was not removed, in order, and what has left once", async () => {
  const store = await openOutbox("order");
  expect(store.stored).toMatchObject({ lastSeq: 0, publications: [] });
  await store.write([{ insert: publish(7) }, { insert: publish(8) }, { insert: publish(9) }]);
  await store.write([{ attempted: 7 }, { attempted: 8 }, { remove: 8 }, { attempted: 100 }]);
  await store.close();
  const again = await openOutbox("order");
  expect(again.stored).toEqual({
    clientId: store.stored.clientId,
    lastSeq: 9,
    publications: [
      { publish: publish(7), attempted: true },
      { publish: publish(9), attempted: false },
    ],
  });
  await again.write([{ remove: 7 }, { remove: 9 }]);
  await again.close();
  const third = await openOutbox("order");
  expect(third.stored, "a number is never used twice").toMatchObject({
    lastSeq: 9,
    publications: [],
  });
  await third.close();
});

test("is held by one page at a time", async () => {
  let isHeld = false;
  vi.stubGlobal("navigator", {
    locks: {
      async request(_: string, __: unknown, run: (lock: unknown) => unknown) {
        if (isHeld) return run(null);
        isHeld = true;
        await run({});
        isHeld = false;
      },
    },
  });
  const store = await openOutbox("held");
  await expect(openOutbox("held")).rejects.toMatchObject({ code: "OUTBOX_STORE" });
  await store.close();
  await vi.waitFor(async () => (await openOutbox("held")).close());
});

test("a page without locks gets none: another tab might have it too", async () => {
  vi.stubGlobal("navigator", {});
  vi.stubGlobal("document", {});
  await expect(openOutbox("shared")).rejects.toMatchObject({ code: "OUTBOX_STORE" });
});

test("a client that is made with what is left shows it, and goes on above it", async () => {
  const first = await openOutbox("restart");
  const webSocket = class {
    close() {}
  } as unknown as WebSocketConstructor;
  const before = new Client("sterna://localhost", { outbox: { store: first }, webSocket });
  const sent = before.publish("room:1", "kept");
  expect(before.clientId).toBe(first.stored.clientId);
  await before.dispose();
  expect(sent.state).toMatchObject({ name: "failed", error: { code: "CLOSED" } });
  const second = await openOutbox("restart");
  const after = new Client("sterna://localhost", { outbox: { store: second }, webSocket });
  expect(after.clientId).toBe(before.clientId);
  expect(after.restored.map((send) => [send.id, send.text(), send.state.name])).toEqual([
    [sent.id, "kept", "queued"],
  ]);
  await after.dispose();
});

beforeEach(() => vi.useRealTimers());
