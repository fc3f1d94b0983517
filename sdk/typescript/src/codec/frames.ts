// Frames on streams, each behind its length, and alone in datagrams. A length is checked against the
// limit before anything is kept for it.
import type { Frame } from "../wire/schema.js";
import { DecodeError, Reader, Writer } from "./bytes.js";
import { type Init, read, write } from "./message.js";

/**
 * The frames one after the other, each with its length in front, cut after the frame that passes `bytes`.
 */
export function encode(
  frames: readonly Init<Frame>[],
  bytes = Number.POSITIVE_INFINITY,
): Uint8Array[] {
  const parts = [];
  const writer = new Writer();
  for (const frame of frames) {
    writer.measured(() => write("Frame", writer, frame));
    if (writer.size > bytes) parts.push(writer.take());
  }
  if (writer.size > 0) parts.push(writer.take());
  return parts;
}

/** One frame without its length, as a datagram carries it. */
export function encodeDatagram(frame: Init<Frame>): Uint8Array {
  const writer = new Writer();
  write("Frame", writer, frame);
  return writer.take();
}

/** The frame that `bytes` hold, without a length in front. */
export function decodeDatagram(bytes: Uint8Array): Frame {
  return readFrame(new Reader(bytes), bytes.length);
}

function readFrame(reader: Reader, end: number): Frame {
  const frame = read("Frame", reader, end) as Frame;
  if (frame.command || frame.reply || frame.push) return frame;
  throw new DecodeError("Empty", "the frame is empty");
}

/** Cuts a stream of bytes into frames; keeps one unfinished frame at most. */
export class FrameDecoder {
  #rest = new Uint8Array();

  /** `limit`: the largest frame, in bytes without its length. */
  constructor(readonly limit: number) {}

  /**
   * The frames that are whole with these bytes. After an error the stream cannot be read on: its
   * frame borders are lost.
   */
  push(bytes: Uint8Array): Frame[] {
    let data = bytes;
    if (this.#rest.length > 0) {
      data = new Uint8Array(this.#rest.length + bytes.length);
      data.set(this.#rest);
      data.set(bytes, this.#rest.length);
    }
    const frames = [];
    const reader = new Reader(data);
    for (;;) {
      const end = this.#begin(reader);
      if (!end) break;
      frames.push(readFrame(reader, end));
    }
    this.#rest = data.slice(reader.at);
    return frames;
  }

  /** To be called at the end of the stream: nothing may be left over. */
  finish(): void {
    if (this.#rest.length > 0) {
      throw new DecodeError("Truncated", "it ends inside a frame");
    }
  }

  /** Steps over the length of the next frame, if that is whole, and says where it ends. */
  #begin(reader: Reader): number | undefined {
    const { at, bytes } = reader;
    let length = 0;
    for (let digit = 0; digit < LENGTH_BYTES; digit++) {
      const byte = bytes[at + digit];
      if (byte === undefined) return undefined;
      length += (byte & 127) * 128 ** digit;
      if (byte > 127) continue;
      if (length > this.limit) {
        throw new DecodeError("TooLarge", `a frame of ${length} bytes`);
      }
      const start = at + digit + 1;
      if (start + length > bytes.length) return undefined;
      reader.at = start;
      return start + length;
    }
    throw new DecodeError("Length", "no length of a frame");
  }
}

const LENGTH_BYTES = 5;
