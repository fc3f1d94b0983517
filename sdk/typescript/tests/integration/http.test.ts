// The client over plain HTTP against a real node: everything that it does over a WebSocket, and the way from
// one to the other.
import { Agent, request } from "node:https";
import { Readable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import WebSocket from "ws";
import { type Fetch, http } from "../../src/http.js";
import type { Client, Publication, Subscription, WebSocketConstructor } from "../../src/index.js";
import { nodeWebSocket } from "../../src/node.js";
import { DevNode } from "../support/node.js";

const node = new DevNode();
let agent: Agent;
beforeAll(async () => {
  await node.start();
  agent = new Agent({ keepAlive: true, ca: node.authority() });
});
afterAll(async () => {
  agent.destroy();
  await node.stop();
});

/** What was asked, and the answers that go on. */
class Web {
  readonly asked: string[] = [];
  readonly #open = new Set<() => void>();

  /** With the node's authority, which the platform's `fetch` does not know. */
  readonly fetch: Fetch = (url, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      this.asked.push(method as string);
      const options = { method, headers: headers as Record<string, string>, agent };
      const asked = request(url, options, (answer) => {
        const status = answer.statusCode as number;
        const cut = () => asked.destroy();
        if (status === 200) this.#open.add(cut);
        answer.on("close", () => this.#open.delete(cut));
        const stream = Readable.toWeb(answer) as ReadableStream<Uint8Array>;
        const fields = Object.entries(answer.headers).map(
          ([name, value]) => [name, String(value)] as [string, string],
        );
        if (status === 204) answer.resume();
        resolve(new Response(status === 204 ? null : stream, { status, headers: fields }));
      });
      signal?.addEventListener("abort", () => asked.destroy(new Error("aborted")));
      asked.on("error", reject);
      asked.end(body);
    });

  get open(): number {
    return this.#open.size;
  }

  /** Every answer that goes on breaks. */
  cut(): void {
    for (const cut of this.#open) cut();
  }
}

async function online(web: Web, options = {}): Promise<Client> {
  const client = await node.client({ transports: [http({ fetch: web.fetch })], ...options });
  client.connect();
  await client.ready({ timeout: 10_000 });
  return client;
}

async function publications(room: Subscription, count: number): Promise<Publication[]> {
  const found: Publication[] = [];
  while (found.length < count) {
    const event = await room.next();
    if (!event || event.type === "error") throw event?.error ?? new Error("it has ended");
    if (event.type === "publication") found.push(event);
  }
  return found;
}

test("i13 a thousand publications go both ways, complete and in order", async () => {
  const web = new Web();
  const client = await online(web);
  expect(client.state).toMatchObject({ name: "connected", transport: "http", user: "alice" });
  const room = client.subscribe("room:http", { from: "earliest" });
  const pub = node.spawn("pub", "room:http", "--stdin");
  pub.stdin?.end(Array.from({ length: 1000 }, (_, at) => `line ${at + 1}`).join("\n"));
  const found = await publications(room, 1000);
  expect(found.map((each) => [each.position.offset, each.text()])).toEqual(
    Array.from({ length: 1000 }, (_, at) => [at + 1, `line ${at + 1}`]),
  );
  const sends = Array.from({ length: 200 }, (_, at) => room.publish(at));
  const stored = await Promise.all(sends);
  expect(stored.map(({ position }) => position.offset)).toEqual(
    Array.from({ length: 200 }, (_, at) => 1001 + at),
  );
  // What waits while a request is under way goes together.
  expect(web.asked.filter((method) => method === "POST").length).toBeLessThan(150);
});

test("i13 an answer that breaks again and again loses nothing, and the session goes on", async () => {
  const web = new Web();
  const client = await online(web);
  const session = client.state.name === "connected" && client.state.sessionId;
  const room = client.subscribe("room:cuts", { from: "earliest" });
  const found: number[] = [];
  for (let part = 0; part < 5; part++) {
    const sends = Array.from({ length: 20 }, (_, at) => room.publish(part * 20 + at));
    web.cut();
    for (const each of await publications(room, 20)) found.push(each.json() as number);
    await Promise.all(sends);
  }
  expect(found).toEqual(Array.from({ length: 100 }, (_, at) => at));
  expect(client.state).toMatchObject({ name: "connected", sessionId: session });
  expect(client.statistics().resumed).toBeGreaterThan(0);
});

test("where a WebSocket fails HTTP takes over, and it is left when that works again", async () => {
  const web = new Web();
  let isBlocked = true;
  const Real = nodeWebSocket(WebSocket, { ca: node.authority() });
  const webSocket = function dial(url: string, protocols: string[]) {
    // Nobody listens there.
    return new Real(isBlocked ? "wss://127.0.0.1:1/" : url, protocols);
  } as unknown as WebSocketConstructor;
  const transports = ["websocket", http({ fetch: web.fetch })] as const;
  const client = await online(web, { transports, webSocket });
  expect(client.state).toMatchObject({ transport: "http" });
  const session = client.state.name === "connected" && client.state.sessionId;
  isBlocked = false;
  client.networkChanged();
  await waitFor(() => client.state.name === "connected" && client.state.transport === "websocket");
  expect(client.state).toMatchObject({ resumed: true, sessionId: session });
  isBlocked = true;
  client.networkChanged();
  await waitFor(() => client.state.name === "connected" && client.state.transport === "http");
  expect(client.state).toMatchObject({ resumed: true, sessionId: session });
});

test("a token that is none is a terminal error, told as over a WebSocket", async () => {
  const web = new Web();
  const options = { token: "a.b.c", transports: [http({ fetch: web.fetch })] };
  const client = await node.client(options);
  client.connect();
  const error = await client.ready({ timeout: 10_000 }).catch((error) => error);
  expect(error).toMatchObject({ code: "UNAUTHORIZED", retryable: false });
});

test("who leaves has left, and no request stays open", async () => {
  const web = new Web();
  const client = await online(web);
  await client.dispose();
  await waitFor(() => web.open === 0);
});

async function waitFor(condition: () => boolean): Promise<void> {
  const until = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > until) throw new Error(`never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
