// Both clients whole, each behind a WebSocket of ours that says what a server would: from bytes to what
// the application reads.
import { Centrifuge } from "centrifuge/build/protobuf";
import { encode, FrameDecoder } from "../src/codec/frames.js";
import { Client } from "../src/index.js";

/** Publications in one message of the WebSocket, as a server writes what waits. */
const TOGETHER = 100;

const text = new TextEncoder();
const content = (n: number) =>
  text.encode(JSON.stringify({ n, text: "See you at the harbour at eight, the tide is right." }));

/** A WebSocket without a network. */
abstract class Told {
  static readonly OPEN = 1;
  readyState = 0;
  binaryType = "arraybuffer";
  protocol = "sterna.v1.protobuf";
  bufferedAmount = 0;
  onopen?: () => void;
  onmessage?: (event: { data: ArrayBuffer }) => void;
  onclose?: () => void;
  onerror?: () => void;
  readonly #listeners = new Map<string, Set<(event: unknown) => void>>();

  constructor() {
    queueMicrotask(() => {
      this.readyState = 1;
      this.#emit("open", {});
    });
  }

  addEventListener(name: string, listener: (event: unknown) => void): void {
    const of = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, of.add(listener));
  }

  removeEventListener(name: string, listener: (event: unknown) => void): void {
    this.#listeners.get(name)?.delete(listener);
  }

  close(): void {
    this.readyState = 3;
  }

  say(bytes: Uint8Array): void {
    this.#emit("message", { data: bytes.slice().buffer });
  }

  abstract send(data: Uint8Array | ArrayBuffer): void;

  #emit(name: "open" | "message", event: { data?: ArrayBuffer }): void {
    (this[`on${name}`] as ((event: unknown) => void) | undefined)?.(event);
    for (const listener of this.#listeners.get(name) ?? []) listener(event);
  }
}

/** What a client is fed with, and how many publications its application has read. */
interface Runner {
  feed(message: Uint8Array): void;
  messages(count: number, from: number): Uint8Array[];
  read(): number;
}

async function sterna(): Promise<Runner> {
  let socket!: Told;
  const decoder = new FrameDecoder(1 << 20);
  class Server extends Told {
    constructor() {
      super();
      socket = this;
    }
    send(data: Uint8Array | ArrayBuffer) {
      for (const { command } of decoder.push(new Uint8Array(data))) {
        if (!command) continue;
        const { id } = command;
        if (command.hello) {
          this.#answer({ reply: { id, welcome: WELCOME } });
          for (const { channel } of command.hello.subscriptions) {
            const position = { epoch: 1, offset: 0 };
            this.#answer({ push: { subscribed: { channel, position, live: true } } });
          }
        } else if (command.subscribe) {
          const { channel } = command.subscribe;
          const position = { epoch: 1, offset: 0 };
          this.#answer({ reply: { id, subscribed: { channel, position, live: true } } });
        }
      }
    }
    #answer(frame: Parameters<typeof encode>[0][number]) {
      const [bytes] = encode([frame]);
      queueMicrotask(() => bytes && this.say(bytes));
    }
  }
  const client = new Client("sterna://localhost", {
    token: "t",
    transports: ["websocket"],
    webSocket: Server as never,
    page: false,
  });
  let read = 0;
  const room = client.subscribe("room:1");
  room.on("publication", (event) => {
    read += event.json<{ n: number }>().n > 0 ? 1 : 0;
  });
  client.connect();
  await client.ready();
  await new Promise<void>((resolve) => {
    const wait = () => (room.isLive ? resolve() : setTimeout(wait, 5));
    wait();
  });
  return {
    read: () => read,
    feed: (message) => socket.say(message),
    messages: (count, from) => {
      const all = [];
      for (let at = 0; at < count; at += TOGETHER) {
        const frames = Array.from({ length: TOGETHER }, (_, n) => ({
          push: {
            publication: {
              channel: "room:1",
              epoch: 1,
              offset: from + at + n + 1,
              id: 264905543800324097n + BigInt(at + n),
              sender: "alice",
              payload: content(from + at + n + 1),
              serverTsMs: 1795927490400,
              clientTsMs: 1795927490399,
              clientMsgId: new Uint8Array(16).fill(7),
            },
          },
        }));
        all.push(concat(encode(frames)));
      }
      return all;
    },
  };
}

const WELCOME = {
  sessionId: "3b890ab594ccc1f59bc73994dfcaf9af",
  resumeTicket: new Uint8Array(32),
  resumeWindowMs: 120_000,
  user: "alice",
  observedAddress: "127.0.0.1:1",
  heartbeatMs: 25_000,
  limits: { frameBytes: 262_144, payloadBytes: 65_536, subscriptions: 1000, inFlight: 64 },
  node: "n1",
};

async function centrifuge(): Promise<Runner> {
  let socket!: Told;
  class Server extends Told {
    override protocol = "centrifuge-protobuf";
    constructor() {
      super();
      socket = this;
    }
    /** It connects and subscribes in one message, as commands 1 and 2. */
    send() {
      const connected = concat([varintField(1, 1), field(5, text.encode("\n\x02c1"))]);
      const subscribed = concat([varintField(1, 2), field(6, new Uint8Array())]);
      queueMicrotask(() => this.say(concat([connected, subscribed].map(measured))));
    }
  }
  const client = new Centrifuge("ws://localhost", { websocket: Server });
  let read = 0;
  const room = client.newSubscription("room:1");
  const decoder = new TextDecoder();
  room.on("publication", ({ data }) => {
    read += JSON.parse(decoder.decode(data)).n > 0 ? 1 : 0;
  });
  room.subscribe();
  client.connect();
  await room.ready();
  const info = field(5, concat([field(1, text.encode("alice")), field(2, text.encode("c1"))]));
  return {
    read: () => read,
    feed: (message) => socket.say(message),
    messages: (count, from) => {
      const all = [];
      for (let at = 0; at < count; at += TOGETHER) {
        const frames = Array.from({ length: TOGETHER }, (_, n) => {
          const offset = varintField(6, from + at + n + 1);
          const pub = concat([field(4, content(from + at + n + 1)), info, offset]);
          const push = concat([field(2, text.encode("room:1")), field(4, pub)]);
          return measured(field(4, push));
        });
        all.push(concat(frames));
      }
      return all;
    },
  };
}

const varint = (value: number): number[] => {
  const bytes = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
};
const concat = (parts: Uint8Array[]) => {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};
const field = (number: number, bytes: Uint8Array) =>
  concat([Uint8Array.from([number * 8 + 2, ...varint(bytes.length)]), bytes]);
const varintField = (number: number, value: number) =>
  Uint8Array.from([number * 8, ...varint(value)]);
const measured = (bytes: Uint8Array) => concat([Uint8Array.from(varint(bytes.length)), bytes]);

/** Lets everything else run, sooner than a timer would. */
const { port1, port2 } = new MessageChannel();
const turn = () =>
  new Promise<void>((resolve) => {
    port1.onmessage = () => resolve();
    port2.postMessage(0);
  });

/** Rounds in turn; publications a second of each. */
export async function race(count: number, rounds: number): Promise<Record<string, number[]>> {
  const runners = { sterna: await sterna(), centrifuge: await centrifuge() };
  const rates: Record<string, number[]> = { sterna: [], centrifuge: [] };
  for (let round = 0; round < rounds; round++) {
    for (const [name, runner] of Object.entries(runners)) {
      const messages = runner.messages(count, runner.read());
      const before = runner.read();
      const started = performance.now();
      for (const [at, message] of messages.entries()) {
        runner.feed(message);
        // As far as the application has read, so that no queue fills that a network would not fill.
        while (runner.read() < before + (at + 1) * TOGETHER) await turn();
      }
      rates[name]?.push(count / ((performance.now() - started) / 1000));
    }
  }
  return rates;
}
