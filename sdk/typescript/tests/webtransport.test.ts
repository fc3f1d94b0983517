// WebTransport against a browser's interface without a browser: streams, lanes, datagrams, closes, and the
// table that says where it is sound.
import { describe, expect, test, vi } from "vitest";
import { decodeDatagram, encode, encodeDatagram, FrameDecoder } from "../src/codec/frames.js";
import type { Init } from "../src/codec/message.js";
import { isSound } from "../src/transport/gate.js";
import type { LinkEvents, WebTransportConstructor } from "../src/transport/link.js";
import { webTransportDial } from "../src/transport/webtransport.js";
import { LANE_STREAM } from "../src/wire/codes.js";
import type { Command, Frame } from "../src/wire/schema.js";

type Bytes = Uint8Array<ArrayBufferLike>;

/** One bidirectional stream, seen from the server. */
class Stream {
  readonly #toClient = new TransformStream<Bytes, Bytes>();
  readonly #toServer = new TransformStream<Bytes, Bytes>();
  readonly writer = this.#toClient.writable.getWriter();
  readonly client = { readable: this.#toClient.readable, writable: this.#toServer.writable };
  readonly commands: Command[] = [];
  hasEnded = false;

  constructor() {
    const decoder = new FrameDecoder(1 << 20);
    const sink = new WritableStream<Bytes>({
      write: (bytes) => {
        for (const { command } of decoder.push(bytes)) if (command) this.commands.push(command);
      },
      close: () => {
        this.hasEnded = true;
      },
    });
    this.#toServer.readable.pipeTo(sink).catch(() => {});
  }

  say(frame: Init<Frame>): void {
    for (const bytes of encode([frame])) this.writer.write(bytes).catch(() => {});
  }
}

class FakeWebTransport {
  static last: FakeWebTransport;
  readonly streams: Stream[] = [];
  readonly sentDatagrams: Command[] = [];
  readonly #lanes = new TransformStream<ReadableStream<Bytes>, ReadableStream<Bytes>>();
  readonly lanes = this.#lanes.writable.getWriter();
  readonly incomingUnidirectionalStreams = this.#lanes.readable;
  readonly #incoming = new TransformStream<Bytes, Bytes>();
  readonly incoming = this.#incoming.writable.getWriter();
  readonly datagrams = {
    readable: this.#incoming.readable,
    writable: new WritableStream<Bytes>({
      write: (bytes) => {
        this.sentDatagrams.push(decodeDatagram(bytes).command as Command);
      },
    }),
  };
  readonly ready = Promise.resolve();
  closeWith: (info: { closeCode: number; reason: string }) => void = () => {};
  breakWith: (error: Error) => void = () => {};
  readonly closed = new Promise<{ closeCode: number; reason: string }>((resolve, reject) => {
    this.closeWith = resolve;
    this.breakWith = reject;
  });
  closedWith: unknown;

  constructor(
    readonly url: string,
    readonly options: unknown,
  ) {
    FakeWebTransport.last = this;
  }

  async createBidirectionalStream() {
    const stream = new Stream();
    this.streams.push(stream);
    return stream.client;
  }

  close(info?: unknown): void {
    this.closedWith = info;
  }

  /** Opens a lane whose first byte is `mark`. */
  lane(frame: Init<Frame>, mark = LANE_STREAM): void {
    const [bytes] = encode([frame]) as [Bytes];
    const lane = new ReadableStream<Bytes>({
      start(controller) {
        controller.enqueue(new Uint8Array([mark]));
        controller.enqueue(bytes.subarray(0, 3));
        controller.enqueue(bytes.subarray(3));
      },
    });
    this.lanes.write(lane).catch(() => {});
  }
}

async function dial(hashes?: Uint8Array[]) {
  const frames: Frame[] = [];
  const events = {
    established: vi.fn(),
    frames: (together: readonly Frame[]) => frames.push(...together),
    ended: vi.fn(),
  };
  const fake = FakeWebTransport as unknown as WebTransportConstructor;
  const target = { host: "edge", port: "4443" };
  const link = webTransportDial(fake, hashes)(target, events as unknown as LinkEvents);
  await vi.waitFor(() => expect(events.established).toHaveBeenCalledOnce());
  const session = FakeWebTransport.last;
  return { link, session, events, frames, control: session.streams[0] as Stream };
}

const head = (channel: string) => ({ push: { head: { channel } } });
const channels = (frames: Frame[]) => frames.map(({ push }) => push?.head?.channel);

test("the address, the sub-protocol and the certificates are what the server expects", async () => {
  const { session } = await dial([new Uint8Array([1, 2])]);
  expect(session.url).toBe("https://edge:4443/v1/connect");
  expect(session.options).toMatchObject({
    protocols: ["sterna.1"],
    serverCertificateHashes: [{ algorithm: "sha-256", value: new Uint8Array([1, 2]) }],
  });
});

test("commands go over the control stream, long replies over streams of their own, ephemerals as datagrams", async () => {
  const { link, session, control, frames } = await dial();
  link.send([
    { route: "control", command: { id: 1, ping: {} } },
    { route: "bulk", command: { id: 2, history: { channel: "a" } } },
    { route: "datagram", command: { ephemeral: { channel: "a", key: "typing" } } },
    { route: "datagram", command: { ephemeral: { channel: "b", payload: new Uint8Array(1200) } } },
  ]);
  await vi.waitFor(() => expect(control.commands).toHaveLength(2));
  expect(control.commands[0]?.ping).toBeDefined();
  expect(control.commands[1]?.ephemeral?.channel, "too large for a datagram").toBe("b");
  await vi.waitFor(() => expect(session.streams[1]?.hasEnded).toBe(true));
  expect(session.streams[1]?.commands[0]?.history?.channel).toBe("a");
  expect(session.sentDatagrams.map(({ ephemeral }) => ephemeral?.key)).toEqual(["typing"]);
  session.streams[1]?.say(head("bulk"));
  await vi.waitFor(() => expect(channels(frames)).toEqual(["bulk"]));
});

test("frames come from the control stream, lanes and datagrams; what is not known is left alone", async () => {
  const { session, control, frames, events } = await dial();
  control.say(head("control"));
  session.lane(head("lane"));
  session.lane(head("unknown"), 0x7f);
  session.incoming.write(encodeDatagram(head("datagram"))).catch(() => {});
  session.incoming.write(new Uint8Array([0xff])).catch(() => {});
  await vi.waitFor(() => expect(channels(frames).sort()).toEqual(["control", "datagram", "lane"]));
  expect(events.ended).not.toHaveBeenCalled();
});

test("a close of the server is told once, with its code", async () => {
  const { session, events } = await dial();
  session.closeWith({ closeCode: 3001, reason: "drained" });
  await vi.waitFor(() => expect(events.ended).toHaveBeenCalledOnce());
  expect(events.ended).toHaveBeenCalledWith({ code: 3001, reason: "drained" });
});

test("bytes that are no frames end the session", async () => {
  const { session, control, events } = await dial();
  await control.writer.write(new Uint8Array([2, 8, 1]));
  await vi.waitFor(() => expect(events.ended).toHaveBeenCalledOnce());
  expect(session.closedWith).toMatchObject({ closeCode: 3501 });
});

test("closing writes what was handed over first, and says nothing of the end", async () => {
  const { link, session, control, events } = await dial();
  link.send([{ route: "control", command: { goodbye: {} } }]);
  link.close();
  await vi.waitFor(() => expect(session.closedWith).toMatchObject({ closeCode: 3000 }));
  expect(control.commands[0]?.goodbye).toBeDefined();
  session.closeWith({ closeCode: 3000, reason: "" });
  await session.closed;
  expect(events.ended).not.toHaveBeenCalled();
});

describe("browsers", () => {
  const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)";
  test.each([
    [`${chrome} Chrome/140.0.0.0 Safari/537.36`, true],
    [`${chrome} Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0`, true],
    [`${chrome} Chrome/96.0.0.0 Safari/537.36`, false],
    ["Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0", true],
    ["Mozilla/5.0 (X11; Linux x86_64; rv:152.0) Gecko/20100101 Firefox/152.0", false],
    ["Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/26.4 Safari/605.1.15", false],
    ["Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 CriOS/140.0 Mobile/15E148 Safari/604.1", false],
    ["", false],
  ])("%s: %s", (userAgent, expected) => {
    expect(isSound(userAgent)).toBe(expected);
  });
});
