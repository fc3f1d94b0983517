// A WebTransport session, which maps as raw QUIC does: one control stream that the client opens, lanes that
// the server opens, datagrams for ephemerals, a stream of its own for every long reply.
import { decodeDatagram, encode, encodeDatagram, FrameDecoder } from "../codec/frames.js";
import {
  CLOSE_NORMAL,
  CLOSE_PROTOCOL_ERROR,
  DATAGRAM_BYTES,
  FRAME_BYTES,
  LANE_STREAM,
  LANES,
} from "../wire/codes.js";
import {
  broken,
  CONGESTED_BYTES,
  type Dial,
  type Link,
  type LinkEnd,
  type LinkEvents,
  type Outgoing,
  type WebTransportConstructor,
} from "./link.js";
import { urlOf } from "./target.js";

/** Dials with the given WebTransport; `hashes` are SHA-256 of certificates that it accepts as they are. */
export function webTransportDial(
  WebTransport: WebTransportConstructor,
  hashes: readonly Uint8Array[] = [],
): Dial {
  return (target, events) => {
    const options = {
      protocols: [PROTOCOL],
      requireUnreliable: true,
      congestionControl: "low-latency" as const,
      ...(hashes.length > 0 && {
        serverCertificateHashes: hashes.map((value) => ({
          algorithm: "sha-256",
          value: value as Uint8Array<ArrayBuffer>,
        })),
      }),
    };
    return new WebTransportLink(() => new WebTransport(urlOf(target, "https"), options), events);
  };
}

class WebTransportLink implements Link {
  readonly transport = "webtransport";
  readonly #events: LinkEvents;
  #session: WebTransport | undefined;
  #control: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #datagrams: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #isOver = false;
  /** Bytes that were handed to the control stream and not taken by it yet. */
  #unwritten = 0;
  #lanes = 0;

  constructor(dial: () => WebTransport, events: LinkEvents) {
    this.#events = events;
    this.#watch(this.#run(dial));
  }

  get isCongested(): boolean {
    return this.#unwritten > CONGESTED_BYTES;
  }

  send(outgoing: readonly Outgoing[]): void {
    const control = [];
    for (const { route, command } of outgoing) {
      if (route === "bulk") this.#watch(this.#askBulk(command));
      else if (route === "control" || !this.#sendDatagram(command)) control.push({ command });
    }
    for (const bytes of encode(control)) this.#watch(this.#write(bytes));
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const done = () => this.#session?.close({ closeCode: CLOSE_NORMAL, reason: "normal" });
    // What was handed over leaves first.
    (this.#control?.close() ?? Promise.resolve()).then(done, done);
  }

  async #run(dial: () => WebTransport): Promise<void> {
    const session = dial();
    this.#session = session;
    session.closed.then(
      ({ closeCode, reason }) => this.#end({ code: closeCode, reason: reason ?? "" }),
      (error) => this.#end(broken(error)),
    );
    await session.ready;
    if (this.#isOver) return session.close();
    const control = await session.createBidirectionalStream();
    this.#control = control.writable.getWriter();
    this.#datagrams = datagramWriter(session);
    this.#watch(this.#readLanes(session));
    this.#watch(this.#readDatagrams(session));
    if (!this.#isOver) this.#events.established();
    await this.#read(control.readable);
    this.#end(broken("the server ended the control stream"), CLOSE_PROTOCOL_ERROR);
  }

  /** Lanes go on side by side; a lane may end. */
  async #readLanes({ incomingUnidirectionalStreams }: WebTransport): Promise<void> {
    for await (const lane of values<ReadableStream<Uint8Array>>(incomingUnidirectionalStreams)) {
      // A server that opens more than it announces gets no reader for them.
      if (this.#lanes >= LANES) await lane.cancel();
      else this.#watch(this.#readLane(lane));
    }
  }

  async #readLane(lane: ReadableStream<Uint8Array>): Promise<void> {
    this.#lanes++;
    try {
      await this.#read(lane, LANE_STREAM);
    } finally {
      this.#lanes--;
      // What is not read to its end would hold the window of the session. Of one that has ended, nothing.
      lane.cancel().catch(() => {});
    }
  }

  async #readDatagrams({ datagrams }: WebTransport): Promise<void> {
    for await (const bytes of values<Uint8Array>(datagrams.readable)) {
      try {
        this.#pass([decodeDatagram(bytes)]);
      } catch {
        // A datagram is not worth a connection: what is no frame is dropped.
      }
    }
  }

  /** Reads frames to the end of a stream, whose first byte has to be `mark`, if there is to be one. */
  async #read(stream: ReadableStream<Uint8Array>, mark?: number): Promise<void> {
    const decoder = new FrameDecoder(FRAME_BYTES);
    let isMarked = mark === undefined;
    for await (const chunk of values<Uint8Array>(stream)) {
      let bytes = chunk;
      if (!isMarked && bytes.length > 0) {
        // A kind of stream that a newer server may open.
        if (bytes[0] !== mark) return;
        isMarked = true;
        bytes = bytes.subarray(1);
      }
      this.#pass(decoder.push(bytes));
    }
    decoder.finish();
  }

  async #askBulk(command: Outgoing["command"]): Promise<void> {
    const stream = await this.#session?.createBidirectionalStream();
    if (!stream) return;
    const asking = stream.writable.getWriter();
    for (const bytes of encode([{ command }])) await asking.write(bytes);
    await asking.close();
    await this.#read(stream.readable);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#unwritten += bytes.length;
    await this.#control?.write(bytes);
    this.#unwritten -= bytes.length;
  }

  /** False: it does not fit, or there are none. */
  #sendDatagram(command: Outgoing["command"]): boolean {
    const bytes = encodeDatagram({ command });
    if (bytes.length > DATAGRAM_BYTES || !this.#datagrams) return false;
    this.#watch(this.#datagrams.write(bytes));
    return true;
  }

  /** Whatever fails ends the connection; when it has ended already, that is why. */
  #watch(work: Promise<unknown>): void {
    work.catch((error) => this.#end(broken(error), CLOSE_PROTOCOL_ERROR));
  }

  #pass(frames: ReturnType<FrameDecoder["push"]>): void {
    if (!this.#isOver) this.#events.frames(frames);
  }

  #end(end: LinkEnd, code?: number): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (code !== undefined) this.#session?.close({ closeCode: code, reason: end.reason });
    this.#events.ended(end);
  }
}

/** The writer of datagrams: drafts differ in where it is. */
function datagramWriter({ datagrams }: WebTransport) {
  const { createWritable, writable } = datagrams as WebTransportDatagramDuplexStream & {
    createWritable?: () => WritableStream<Uint8Array>;
  };
  return (createWritable ? createWritable.call(datagrams) : writable).getWriter();
}

/** Streams are not iterable everywhere. */
async function* values<Item>(stream: ReadableStream): AsyncGenerator<Item> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}

/** The sub-protocol of the session, as `sterna/1` is the ALPN of raw QUIC. */
const PROTOCOL = "sterna.1";
