// The handle: addresses, options, waiting for a session, reading a subscription, and the life of a page.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { directChannel } from "../src/channels.js";
import {
  Client,
  type ClientOptions,
  SternaError,
  type WebSocketConstructor,
} from "../src/index.js";
import { followPage } from "../src/page.js";
import { parseTarget, successorOf } from "../src/transport/target.js";
import type { Command } from "../src/wire/schema.js";
import { FakeSocket } from "./support/socket.js";
import { page, pub } from "./support/transport.js";

const settle = () => vi.advanceTimersByTimeAsync(0);

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
});
afterEach(() => vi.useRealTimers());

/** Opens, and answers the Hello. */
async function accept(socket: FakeSocket | undefined): Promise<void> {
  await settle();
  socket?.open();
  await settle();
  socket?.welcome();
  await settle();
}

const make = (options: ClientOptions = {}) =>
  new Client("sterna://edge", {
    webSocket: FakeSocket as unknown as WebSocketConstructor,
    ...options,
  });

async function connected(options: ClientOptions = {}) {
  const client = make(options);
  client.connect();
  await settle();
  const socket = FakeSocket.all.at(-1) as FakeSocket;
  await accept(socket);
  return { client, socket };
}

describe("addresses", () => {
  test.each([
    ["sterna://edge.example.com", "edge.example.com", "4443"],
    ["https://edge.example.com", "edge.example.com", "443"],
    ["wss://edge:5000/", "edge", "5000"],
    ["sterna://[::1]:5000", "[::1]", "5000"],
  ])("%s", (address, host, port) => {
    expect(parseTarget(address)).toEqual({ host, port });
  });

  test.each([
    "",
    "edge",
    "http://edge",
    "sterna://",
    "sterna://a b",
    "https://edge/path",
    "sterna://edge:x",
  ])("%j is none", (address) => expect(() => new Client(address)).toThrow(SternaError));

  test("a successor without a name is of no use to those who know the cluster by name", () => {
    const home = { host: "edge.example.com", port: "443" };
    expect(successorOf(home, "edge-2.example.com:4443")).toEqual({
      host: "edge-2.example.com",
      port: "4443",
    });
    expect(successorOf(home, "192.0.2.1:4443")).toEqual(home);
    expect(successorOf({ host: "127.0.0.1", port: "1" }, "[::1]:2")).toEqual({
      host: "[::1]",
      port: "2",
    });
    for (const odd of ["", "edge", "edge:", ":1"]) expect(successorOf(home, odd)).toEqual(home);
  });
});

describe("options that cannot work are refused at once", () => {
  test.each([
    ["no transport", { transports: [] }],
    ["a transport that is not here", { transports: ["webtransport"] }],
    ["a client id", { clientId: "a b" }],
  ] as [string, ClientOptions][])("%s", (_, options) => {
    expect(() => make(options)).toThrow(expect.objectContaining({ code: "CONFIG" }));
  });
});

describe("names", () => {
  test.each(["room:42", "dm:alice:bob", "a/b#c", "raum:größe", "部屋", "x".repeat(128)])(
    "%s",
    (name) => {
      expect(() => make().subscribe(name)).not.toThrow();
    },
  );

  test.each(["", "a b", "a\n", "room?", "x".repeat(129), "部".repeat(43), "👋"])(
    "%j is no channel",
    (name) => {
      // A node would refuse the whole Hello that has it.
      expect(() => make().subscribe(name)).toThrow(
        expect.objectContaining({ code: "BAD_REQUEST" }),
      );
      expect(() => make().publish(name, "")).toThrow(SternaError);
    },
  );

  test("a direct channel is one, whoever of the two names it", () => {
    expect(directChannel("bob", "alice")).toBe("dm:alice:bob");
    expect(directChannel("alice", "bob")).toBe("dm:alice:bob");
    expect(directChannel("al", "alice")).toBe("dm:al:alice");
    // By bytes, not by UTF-16 units: the second is in front of the first there.
    expect(directChannel("\u{20000}", "\u{f900}")).toBe("dm:\u{f900}:\u{20000}");
    expect(() => directChannel("bob", "bob")).toThrow(SternaError);
  });
});

describe("ready", () => {
  test("resolves with a session", async () => {
    const client = make();
    const ready = client.ready({ timeout: 5000 });
    client.connect();
    await settle();
    await accept(FakeSocket.all[0]);
    await expect(ready).resolves.toBeUndefined();
    expect(FakeSocket.all[0]).toMatchObject({
      url: "wss://edge:4443/v1/connect",
      protocols: ["sterna.v1.protobuf"],
    });
  });

  test("rejects in time, with the last error where there is one", async () => {
    const client = make();
    client.connect();
    const ready = expect(client.ready({ timeout: 300 })).rejects.toMatchObject({ code: "TIMEOUT" });
    await vi.advanceTimersByTimeAsync(300);
    await ready;
    FakeSocket.all[0]?.onclose({ code: 1006, reason: "" });
    await settle();
    const again = expect(client.ready({ timeout: 1 })).rejects.toMatchObject({
      code: "DISCONNECTED",
    });
    await vi.advanceTimersByTimeAsync(1);
    await again;
    await client.dispose();
  });

  test("rejects with the reason of its signal, and when the client is closed", async () => {
    const client = make();
    const abort = new AbortController();
    const ready = client.ready({ signal: abort.signal });
    abort.abort(new Error("gone"));
    await expect(ready).rejects.toThrow("gone");
    await client.dispose();
    await expect(client.ready()).rejects.toMatchObject({ code: "CLOSED" });
  });
});

describe("a subscription", () => {
  test("is read by a loop, whose end unsubscribes", async () => {
    const { client, socket } = await connected();
    const room = client.subscribe("room:1", { from: "earliest" });
    await settle();
    const { id } = socket.commands.shift() as Command;
    socket.say({ reply: { id, subscribed: page("room:1", 0, 3) } });
    const seen: number[] = [];
    for await (const event of room) {
      if (event.type !== "publication") continue;
      seen.push(event.json<number>());
      expect(room.position?.offset).toBe(event.position.offset);
      if (seen.length === 2) break;
    }
    expect(seen).toEqual([1, 2]);
    await settle();
    expect(socket.commands.at(-1)?.unsubscribe?.channel).toBe("room:1");
    expect(() => client.subscribe("room:1")).not.toThrow();
  });

  test("is read by listeners, of which one that throws does not disturb the others", async () => {
    const { client, socket } = await connected();
    const room = client.subscribe("room:1", { from: "earliest" });
    const thrown: unknown[] = [];
    const report = vi.spyOn(globalThis, "queueMicrotask");
    report.mockImplementation((run) => {
      void Promise.resolve()
        .then(run)
        .catch((error) => thrown.push(error));
    });
    const seen: number[] = [];
    const failing = room.on("publication", () => {
      throw new Error("a fault of the application");
    });
    room.on("publication", ({ position }) => seen.push(position.offset));
    await settle();
    socket.say({
      reply: { id: socket.commands.shift()?.id as number, subscribed: page("room:1", 0, 1) },
    });
    await settle();
    failing();
    socket.say({ push: { publication: pub("room:1", 2) } });
    await settle();
    expect(seen).toEqual([1, 2]);
    expect(thrown).toEqual([new Error("a fault of the application")]);
    expect(() => room.next()).toThrow(SternaError);
    report.mockRestore();
  });

  test("is held once per channel, and ends with the client", async () => {
    const client = make();
    const room = client.subscribe("room:1");
    expect(() => client.subscribe("room:1")).toThrow(
      expect.objectContaining({ code: "ALREADY_SUBSCRIBED" }),
    );
    expect(await room.next()).toEqual({ type: "state", state: "subscribing" });
    const end = room.next();
    await client.dispose();
    expect(await end).toBeUndefined();
    expect(() => client.subscribe("room:2")).toThrow(expect.objectContaining({ code: "CLOSED" }));
  });

  test("ends with `using`, where the language has it", () => {
    const client = make();
    client.subscribe("room:1")[Symbol.dispose]();
    expect(() => client.subscribe("room:1")).not.toThrow();
  });
});

describe("publishing", () => {
  test.each([
    ["text", "text"],
    [{ a: 1 }, '{"a":1}'],
    [[1, null], "[1,null]"],
    [7, "7"],
    [new Uint8Array([104, 105]), "hi"],
  ])("%j", async (content, text) => {
    const { client, socket } = await connected();
    const send = client.publish("room:1", content);
    await settle();
    const publish = socket.commands.shift()?.publish;
    expect(new TextDecoder().decode(publish?.payload)).toBe(text);
    expect(send.id.replaceAll("-", "")).toBe(
      Buffer.from(publish?.clientMsgId ?? []).toString("hex"),
    );
  });

  test("an edit names its target; an id is a UUID or nothing", async () => {
    const { client, socket } = await connected();
    client.publish("room:1", "better", {
      kind: "edit",
      target: 7,
      id: "0190d6a0-0000-7000-8000-000000000001",
    });
    await settle();
    expect(socket.commands.shift()?.publish).toMatchObject({ kind: 1, targetOffset: 7 });
    expect(() => client.publish("room:1", "", { id: "x" })).toThrow(SternaError);
    expect(() => client.publish("", "")).toThrow(SternaError);
  });

  test("an ephemeral needs a connection; the newest of a key wins", async () => {
    const { client, socket } = await connected();
    for (const at of [1, 2, 3]) client.ephemeral("room:1", "cursor", at);
    await settle();
    expect(socket.commands.map(({ ephemeral }) => String(ephemeral?.payload))).toEqual(["51"]);
    expect(() => client.ephemeral("room:1", "cursor", "x".repeat(2000))).toThrow(SternaError);
    client.disconnect();
    expect(() => client.ephemeral("room:1", "cursor", 1)).toThrow(
      expect.objectContaining({ code: "DISCONNECTED" }),
    );
  });
});

test("a call that nobody answers ends by its timeout", async () => {
  const { client } = await connected({ commandTimeout: 1000 });
  const ack = expect(client.ack("room:1", 1)).rejects.toMatchObject({
    code: "TIMEOUT",
    retryable: true,
  });
  await vi.advanceTimersByTimeAsync(1000);
  await ack;
});

test("messages that are no frames end the connection with the code for it", async () => {
  for (const data of ["text", new Uint8Array([2, 8, 1]).buffer, new Uint8Array([5, 1]).buffer]) {
    const { client, socket } = await connected();
    socket.onmessage({ data });
    expect(socket.closedWith).toBe(3501);
    expect(client.state.name).toBe("connecting");
    await client.dispose();
  }
});

test("every error says whether trying again helps, and with its messages what to do", async () => {
  const full = new SternaError("QUEUE_FULL", "the outbox is full");
  expect([full.message, full.help]).toEqual(["the outbox is full", "Try again later."]);
  expect(new SternaError("CLOSED", "").help).toContain("refused again");
  await import("../src/messages.js");
  expect(full.help).toContain("limits of `outbox`");
  expect(new SternaError("INTERNAL", "", { retryable: true }).help).toContain("later");
});

describe("the life of a page", () => {
  function open() {
    const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    const window = Object.assign(new EventTarget(), { document });
    const client = {
      networkChanged: vi.fn(),
      background: vi.fn(),
      foreground: vi.fn(),
      disconnect: vi.fn(),
    };
    const end = followPage(client, window as unknown as Window);
    const transition = (name: string, persisted: boolean) =>
      window.dispatchEvent(Object.assign(new Event(name), { persisted }));
    return { document, window, client, end, transition };
  }

  test("in the back/forward cache it sleeps, and comes back", () => {
    const { client, transition } = open();
    transition("pagehide", true);
    expect(client.background).toHaveBeenCalledWith(0);
    transition("pageshow", true);
    expect(client.foreground).toHaveBeenCalledOnce();
    transition("pageshow", false);
    expect(client.foreground).toHaveBeenCalledOnce();
  });

  test("at its end the session ends, too", () => {
    const { client, transition } = open();
    transition("pagehide", false);
    expect(client.disconnect).toHaveBeenCalledOnce();
    expect(client.background).not.toHaveBeenCalled();
  });

  test("another kind of network is another path, another estimate of its speed is no news", () => {
    const connection = Object.assign(new EventTarget(), { type: "wifi" });
    vi.stubGlobal("navigator", { connection });
    const { client, end } = open();
    connection.dispatchEvent(new Event("change"));
    expect(client.networkChanged).not.toHaveBeenCalled();
    connection.type = "cellular";
    connection.dispatchEvent(new Event("change"));
    connection.dispatchEvent(new Event("change"));
    expect(client.networkChanged).toHaveBeenCalledOnce();
    expect(client.networkChanged).toHaveBeenCalledWith("path");
    end();
    connection.type = "wifi";
    connection.dispatchEvent(new Event("change"));
    expect(client.networkChanged).toHaveBeenCalledOnce();
    vi.unstubAllGlobals();
  });

  test("freezing, networks and visibility are passed on, until it is not wanted any more", () => {
    const { client, document, window, end } = open();
    document.dispatchEvent(new Event("freeze"));
    document.dispatchEvent(new Event("resume"));
    window.dispatchEvent(new Event("online"));
    document.dispatchEvent(new Event("visibilitychange"));
    document.visibilityState = "hidden";
    document.dispatchEvent(new Event("visibilitychange"));
    expect(client.background).toHaveBeenCalledWith(0);
    expect(client.foreground).toHaveBeenCalledOnce();
    expect(client.networkChanged).toHaveBeenCalledTimes(2);
    expect(client.networkChanged).toHaveBeenNthCalledWith(1, "online");
    expect(client.networkChanged).toHaveBeenNthCalledWith(2, "wake");
    end();
    window.dispatchEvent(new Event("online"));
    expect(client.networkChanged).toHaveBeenCalledTimes(2);
  });
});
