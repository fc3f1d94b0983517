// Protobuf's primitives over bytes: varints, lengths, text. A number above 2^53 - 1 becomes a bigint,
// never a rounded double.
import type { Uint64 } from "../wire/schema.js";

/** What is wrong with bytes that are no frame; the names are those of the golden vectors. */
export type DecodeFault = "TooLarge" | "Length" | "Malformed" | "Empty" | "Truncated";

/** Bytes are no frame. The other side is at fault. */
export class DecodeError extends Error {
  override readonly name = "DecodeError";

  constructor(
    readonly fault: DecodeFault,
    message: string,
  ) {
    super(message);
  }
}

export function malformed(why: string): never {
  throw new DecodeError("Malformed", `not a frame: ${why}`);
}

/** The number where arithmetic is done with it: offsets, times. One that is not exact is refused. */
export function exact(value: Uint64): number {
  return typeof value === "number" ? value : malformed(`${value} is no offset and no time`);
}

// A byte order mark is part of the text.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** A short text of ASCII, without the platform's help: that takes longer to ask for than to do without. */
export function ascii(bytes: Uint8Array): string | undefined {
  if (bytes.length > 256) return undefined;
  for (let at = 0; at < bytes.length; at++) if ((bytes[at] as number) > 127) return undefined;
  return String.fromCharCode.apply(undefined, bytes as never);
}

export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** Small pieces of data lie in one of these together. */
let block = new Uint8Array();
let used = 0;

export class Reader {
  at = 0;

  constructor(readonly bytes: Uint8Array) {}

  #byte(): number {
    return this.bytes[this.at++] ?? malformed("it ends inside a number");
  }

  varint(): Uint64 {
    let low = 0;
    for (let scale = 1; scale < TWO_49; scale *= 128) {
      const byte = this.#byte();
      low += (byte & 127) * scale;
      if (byte < 128) return low;
    }
    let high = 0;
    for (let scale = 1; scale <= 1 << 14; scale *= 128) {
      const byte = this.#byte();
      high += (byte & 127) * scale;
      if (byte < 128) {
        if (high >= 1 << 15) break;
        return high < 16 ? high * TWO_49 + low : (BigInt(high) << 49n) + BigInt(low);
      }
    }
    return malformed("a number of more than 64 bits");
  }

  /** The low 32 bits, as protobuf reads a number into a smaller field. */
  uint32(): number {
    const value = this.varint();
    return typeof value === "bigint" ? Number(value & 0xffffffffn) : value % TWO_32;
  }

  /** A length, which has to lie before `end`. Returns where what it measures ends. */
  length(end: number): number {
    const length = this.varint();
    if (length > end - this.at) malformed("a length beyond its end");
    return this.at + Number(length);
  }

  /** A copy, which may share its buffer with a few others: to make one that does not takes several times as long. */
  data(end: number): Uint8Array {
    const upto = this.length(end);
    const { at: start } = this;
    this.at = upto;
    const length = upto - start;
    // Engines keep what is this small beside its view.
    if (length <= 64 || length > BLOCK / 8) return this.bytes.slice(start, upto);
    if (used + length > block.length) {
      block = new Uint8Array(BLOCK);
      used = 0;
    }
    block.set(this.bytes.subarray(start, upto), used);
    used += length;
    return block.subarray(used - length, used);
  }

  text(end: number): string {
    const upto = this.length(end);
    const bytes = this.bytes.subarray(this.at, upto);
    this.at = upto;
    try {
      return ascii(bytes) ?? decoder.decode(bytes);
    } catch {
      return malformed("text that is not UTF-8");
    }
  }

  /** Steps over a field that is not known. */
  skip(wire: number, end: number): void {
    if (wire === 0) this.varint();
    else if (wire === 1) this.at += 8;
    else if (wire === 2) this.at = this.length(end);
    else if (wire === 5) this.at += 4;
    else malformed(`wire type ${wire}`);
  }
}

export class Writer {
  #bytes = new Uint8Array(256);
  #at = 0;

  get size(): number {
    return this.#at;
  }

  /** What was written; what follows begins anew. */
  take(): Uint8Array {
    const bytes = this.#bytes.slice(0, this.#at);
    this.#at = 0;
    return bytes;
  }

  #room(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }

  varint(value: Uint64): void {
    this.#room(10);
    let rest = value;
    while (typeof rest === "bigint") {
      if (rest <= Number.MAX_SAFE_INTEGER) {
        rest = Number(rest);
        break;
      }
      this.#bytes[this.#at++] = Number(rest & 127n) | 128;
      rest >>= 7n;
    }
    while (rest > 127) {
      this.#bytes[this.#at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#at++] = rest;
  }

  data(data: Uint8Array): void {
    this.varint(data.length);
    this.#room(data.length);
    this.#bytes.set(data, this.#at);
    this.#at += data.length;
  }

  /** What `write` writes, with its length in front. */
  measured(write: () => void): void {
    this.#room(1);
    const start = this.#at++;
    write();
    const end = this.#at;
    const length = end - start - 1;
    // Most lengths take the one byte that was left for them.
    const more = length < 1 << 7 ? 0 : length < 1 << 14 ? 1 : length < 1 << 21 ? 2 : 3;
    this.#room(more);
    this.#bytes.copyWithin(start + 1 + more, start + 1, end);
    this.#at = start;
    this.varint(length);
    this.#at = end + more;
  }
}

/** Of what is read and kept, so much may be held that is not needed any more. */
const BLOCK = 2048;
const TWO_32 = 2 ** 32;
const TWO_49 = 2 ** 49;
