// Plain HTTP: how events are read, what a link asks of a server that is the test, and when it takes over from
// a WebSocket.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { encode, FrameDecoder } from "../src/codec/frames.js";
import type { Init } from "../src/codec/message.js";
import { http } from "../src/http.js";
import { Client, SternaError } from "../src/index.js";
import { bytesOf, EventReader } from "../src/transport/event-stream.js";
import { behind } from "../src/transport/fallback.js";
import { httpDial } from "../src/transport/http.js";
import { CONGESTED_BYTES, type Link, type LinkEnd, type Outgoing } from "../src/transport/link.js";
import type { Command, Frame } from "../src/wire/schema.js";
import { FakeLink } from "./support/transport.js";

const target = { host: "edge", port: "4443" };
const settle = () => vi.advanceTimersByTimeAsync(0);
const later = (ms: number) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("events", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);

  test("are read however they are cut", () => {
    const text = 'event: open\ndata: {"ä":1}\n\n:\n\ndata: a\ndata: b\n\n: said\ndata:c\n\n';
    const expected = [
      { name: "open", data: '{"ä":1}' },
      { name: "", data: "a\nb" },
      { name: "", data: "c" },
    ];
    const whole = bytes(text);
    for (let step = 1; step <= whole.length; step++) {
      const reader = new EventReader(1000);
      const found = [];
      for (let at = 0; at < whole.length; at += step) {
        found.push(...reader.push(whole.subarray(at, at + step)));
      }
      expect(found).toEqual(expected);
    }
  });

  test("do not grow without end", () => {
    const reader = new EventReader(100);
    reader.push(bytes(`data: ${"x".repeat(60)}`));
    expect(() => reader.push(bytes("x".repeat(60)))).toThrow("too long");
  });

  test("carry bytes in base64", () => {
    expect([...bytesOf("AAH/")]).toEqual([0, 1, 255]);
  });
});

/** A node, as `fetch` sees it. */
class FakeServer {
  readonly asked: { method: string; headers: Record<string, string>; commands: Command[] }[] = [];
  /** Answers what is asked; a request that waits for an answer of the test when there is none. */
  answer: (at: number) => Response | Promise<Response> | Error = () =>
    new Response(null, { status: 204 });
  #events: ReadableStreamDefaultController<Uint8Array> | undefined;
  readonly url: string[] = [];

  readonly fetch = (url: string, init: RequestInit): Promise<Response> => {
    this.url.push(url);
    const headers = init.headers as Record<string, string>;
    const frames = init.body ? new FrameDecoder(1 << 20).push(init.body as Uint8Array) : [];
    const commands = frames.map(({ command }) => command as Command);
    const isOpening = init.method === "POST" && !headers["sterna-stream"];
    this.asked.push({ method: init.method as string, headers, commands });
    const aborted = new Promise<never>((_, reject) => {
      init.signal?.addEventListener("abort", () => reject(new Error("aborted")));
    });
    aborted.catch(() => {});
    const answer = isOpening ? this.#open(init.signal) : this.answer(this.asked.length);
    if (answer instanceof Error) return Promise.reject(answer);
    return Promise.race([aborted, Promise.resolve(answer)]);
  };

  #open(signal: AbortSignal | null | undefined): Response {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#events = controller;
      },
    });
    signal?.addEventListener("abort", () => this.cut());
    return new Response(body, { status: 200 });
  }

  say(text: string): void {
    this.#events?.enqueue(new TextEncoder().encode(text));
  }

  frames(...frames: Init<Frame>[]): void {
    for (const bytes of encode(frames)) {
      this.say(`data: ${btoa(String.fromCharCode(...bytes))}\n\n`);
    }
  }

  opened(): void {
    this.say('event: open\ndata: {"stream":"abc","keep_alive_ms":15000,"body_bytes":262149}\n\n');
  }

  end(): void {
    this.#events?.close();
  }

  cut(): void {
    try {
      this.#events?.error(new Error("cut"));
    } catch {
      // It has ended already.
    }
  }

  posts() {
    return this.asked.filter(({ headers }) => headers["sterna-sequence"]);
  }
}

const ping = (id: number): Outgoing => ({ route: "control", command: { id, ping: {} } });

/** A link that has said Hello on a stream that is open. */
async function open(server = new FakeServer()) {
  const told: { frames: Frame[]; end: LinkEnd | undefined; isEstablished: boolean } = {
    frames: [],
    end: undefined,
    isEstablished: false,
  };
  const link = httpDial(server.fetch)(target, {
    established: () => {
      told.isEstablished = true;
    },
    frames: (frames) => told.frames.push(...frames),
    ended: (end) => {
      told.end = end;
    },
  });
  await settle();
  link.send([ping(1)]);
  await settle();
  server.opened();
  await settle();
  return { server, link, told };
}

describe("a link", () => {
  test("looks whether it gets through before anybody says who it is", async () => {
    const { server, told, link } = await open();
    expect(told.isEstablished).toBe(true);
    expect(link.transport).toBe("http");
    expect(server.url[0]).toBe("https://edge:4443/v1/stream");
    expect(server.asked.map(({ method }) => method)).toEqual(["GET", "POST"]);
    expect(server.asked[1]?.commands.map(({ id }) => id)).toEqual([1]);
    expect(JSON.stringify(server.url)).not.toContain("abc");
  });

  test("gives frames as they come", async () => {
    const { server, told } = await open();
    server.frames({ reply: { id: 1, pong: {} } }, { reply: { id: 2, pong: {} } });
    server.say(":\n\n");
    await settle();
    expect(told.frames.map(({ reply }) => reply?.id)).toEqual([1, 2]);
  });

  test("sends one request at a time, numbered, and together what waits", async () => {
    const { server, link } = await open();
    let release = (_: Response) => {};
    server.answer = () => new Promise((resolve) => (release = resolve));
    link.send([ping(2)]);
    await settle();
    link.send([ping(3)]);
    link.send([ping(4), ping(5)]);
    await settle();
    expect(server.posts()).toHaveLength(1);
    release(new Response(null, { status: 204 }));
    await settle();
    expect(
      server
        .posts()
        .map(({ headers, commands }) => [
          headers["sterna-stream"],
          headers["sterna-sequence"],
          commands.map(({ id }) => id),
        ]),
    ).toEqual([
      ["abc", "1", [2]],
      ["abc", "2", [3, 4, 5]],
    ]);
  });

  test("sends the same again under the same number when no answer comes, and when it is told to", async () => {
    const { server, link, told } = await open();
    const busy = new Response("{}", { status: 503, headers: { "retry-after": "2" } });
    const answers = [new Error("lost"), busy, new Response(null, { status: 204 })];
    server.answer = () => answers.shift() as Response;
    link.send([ping(2)]);
    await later(250);
    expect(server.posts()).toHaveLength(2);
    await later(1999);
    expect(server.posts()).toHaveLength(2);
    await later(1);
    expect(server.posts().map(({ headers }) => headers["sterna-sequence"])).toEqual([
      "1",
      "1",
      "1",
    ]);
    expect(told.end).toBeUndefined();
  });

  test("ends when its node does not know it any more, and tells what it was told", async () => {
    const { server, link, told } = await open();
    const gone = { error: { message: "there is no such connection here" } };
    server.answer = () => new Response(JSON.stringify(gone), { status: 404 });
    link.send([ping(2)]);
    await settle();
    expect(told.end).toEqual({ reason: "HTTP 404: there is no such connection here" });
  });

  test("a refusal before it begins is its end", async () => {
    const server = new FakeServer();
    server.answer = () => new Response("<html>", { status: 403, statusText: "Forbidden" });
    const { told } = await open(server);
    expect(told).toMatchObject({ isEstablished: false, end: { reason: "HTTP 403: Forbidden" } });
  });

  test("a close is told with its code, an end without one is a break", async () => {
    const first = await open();
    first.server.say('event: close\ndata: {"code":3001,"reason":"drained"}\n\n');
    await settle();
    expect(first.told.end).toEqual({ code: 3001, reason: "drained" });
    const second = await open();
    second.server.end();
    await settle();
    expect(second.told.end).toEqual({ reason: "the connection broke" });
  });

  test("silence ends it, signs of life do not", async () => {
    const { server, told } = await open();
    for (let second = 0; second < 120; second += 15) {
      await later(15_000);
      server.say(":\n\n");
      await settle();
    }
    expect(told.end).toBeUndefined();
    await later(37_500);
    expect(told.end?.reason).toContain("nothing was heard");
  });

  test("is congested while much waits", async () => {
    const { server, link } = await open();
    server.answer = () => new Promise(() => {});
    expect(link.isCongested).toBe(false);
    const publish = { channel: "room:1", payload: new Uint8Array(CONGESTED_BYTES + 1) };
    link.send([{ route: "control", command: { id: 2, publish } }]);
    expect(link.isCongested).toBe(true);
  });

  test("closing lets go what was handed over, leaves, and tells nobody", async () => {
    const { server, link, told } = await open();
    link.send([ping(2)]);
    link.close();
    await settle();
    expect(server.asked.map(({ method }) => method)).toEqual(["GET", "POST", "POST", "DELETE"]);
    expect(server.asked.at(-1)?.headers).toMatchObject({ "sterna-stream": "abc" });
    expect(told.end).toBeUndefined();
  });

  test("closing does not wait for a request that hangs", async () => {
    const { server, link } = await open();
    server.answer = () => new Promise(() => {});
    link.send([ping(2)]);
    await settle();
    link.close();
    await later(2000);
    expect(server.asked.at(-1)?.method).toBe("DELETE");
  });
});

describe("behind a WebSocket", () => {
  /** An attempt after the other, each with what it dialled. */
  function bench() {
    const links: FakeLink[] = [];
    const dial =
      (name: "websocket" | "http") =>
      (...[to, events]: Parameters<ReturnType<typeof httpDial>>): Link => {
        const link = new FakeLink(name, to, events);
        links.push(link);
        return link;
      };
    const both = behind(dial("http"))(dial("websocket"));
    const attempt = () => {
      links.length = 0;
      const told = { established: 0, ends: [] as LinkEnd[], frames: 0 };
      const link = both(target, {
        established: () => told.established++,
        frames: ({ length }) => {
          told.frames += length;
        },
        ended: (end) => told.ends.push(end),
      });
      return { link, told };
    };
    return { links, attempt, names: () => links.map(({ transport }) => transport) };
  }

  test("it is not dialled while the WebSocket works", async () => {
    const { attempt, links, names } = bench();
    const { link, told } = attempt();
    links[0]?.establish();
    await later(60_000);
    expect([names(), told.established, link.transport]).toEqual([["websocket"], 1, "websocket"]);
    link.send([ping(1)]);
    expect(links[0]?.take("ping").id).toBe(1);
    links[0]?.end({ code: 3001, reason: "drained" });
    expect(told.ends).toEqual([{ code: 3001, reason: "drained" }]);
  });

  test("it takes over at once when the WebSocket fails", async () => {
    const { attempt, links, names } = bench();
    const { link, told } = attempt();
    links[0]?.end();
    expect(names()).toEqual(["websocket", "http"]);
    links[1]?.establish();
    expect([told.established, link.transport, told.ends]).toEqual([1, "http", []]);
    links[1]?.end({ reason: "over" });
    expect(told.ends).toEqual([{ reason: "over" }]);
  });

  test("it takes over when the WebSocket hangs, sooner the next time, and leaves when it is back", async () => {
    const { attempt, links, names } = bench();
    attempt();
    await later(2999);
    expect(names()).toEqual(["websocket"]);
    await later(1);
    links[1]?.establish();
    expect(links[0]?.isClosed).toBe(true);
    attempt();
    await later(500);
    expect(names()).toEqual(["websocket", "http"]);
    links[0]?.establish();
    expect(links[1]?.isClosed).toBe(true);
    await links[0]?.say({ push: { pathChanged: { observedAddress: "" } } });
    const third = attempt();
    await later(2999);
    expect(names()).toEqual(["websocket"]);
    third.link.close();
    await later(60_000);
    expect(names()).toEqual(["websocket"]);
  });

  test("a WebSocket that opens and lets nothing through is left out once", async () => {
    const { attempt, links, names } = bench();
    attempt();
    links[0]?.establish();
    links[0]?.end();
    attempt();
    expect(names()).toEqual(["http"]);
    attempt();
    expect(names()).toEqual(["websocket"]);
  });

  test("when both fail, that is the end", () => {
    const { attempt, links } = bench();
    const { told } = attempt();
    links[0]?.end({ reason: "no WebSocket" });
    links[1]?.end({ reason: "no HTTP" });
    expect(told).toMatchObject({ established: 0, ends: [{ reason: "no HTTP" }] });
  });

  test("a name is no transport, and without any there is no client", () => {
    const transports = ["http"] as unknown as ["websocket"];
    expect(() => new Client("sterna://edge", { transports })).toThrow(SternaError);
    expect(() => new Client("sterna://edge", { transports: [http()] })).not.toThrow();
  });

  test("without one it is alone", async () => {
    const server = new FakeServer();
    const link = http({ fetch: server.fetch, url: "/v1/stream" })(undefined)(target, {
      established: () => {},
      frames: () => {},
      ended: () => {},
    });
    await settle();
    expect([server.url, link.transport]).toEqual([["/v1/stream"], "http"]);
  });
});
