// The codec against the vectors that Rust passes too, and against bytes that are no frames.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { DecodeError, exact, Reader, Writer } from "../src/codec/bytes.js";
import { decodeDatagram, encode, encodeDatagram, FrameDecoder } from "../src/codec/frames.js";
import { Publication } from "../src/events.js";
import type * as wire from "../src/wire/schema.js";
import type { Frame } from "../src/wire/schema.js";
import * as schema from "../src/wire/schema.js";

type Json = { [name: string]: unknown };

const data = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../proto/tests/data/${name}`, import.meta.url), "utf8"));

const frames: { name: string; protobuf: string; json: Json }[] = data("frames.json");
const refused: { name: string; protobuf?: string; error: string }[] = data("refused.json");

const fromHex = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

const decodeAll = (bytes: Uint8Array, limit = 256 * 1024) => {
  const decoder = new FrameDecoder(limit);
  const found = decoder.push(bytes);
  decoder.finish();
  return found;
};

/** Canonical protobuf JSON of a message, from the same schema, so that vectors can be compared. */
function toJson(name: string, content: Json): Json {
  const line = schema.SCHEMA.split("\n").find(
    (each) => each.startsWith(`${name} `) || each === name,
  );
  const json: Json = {};
  for (const part of line?.split(" ").slice(1) ?? []) {
    const form = /([a-z]+)([~!#%]?)([|*?:]?)([a-z]*)/i;
    const [, field, sign, mark, type] = form.exec(part) as unknown as [
      string,
      string,
      string,
      string,
      string,
    ];
    const value = content[field];
    const message = type || `${field[0]?.toUpperCase()}${field.slice(1)}`;
    if (value === undefined) continue;
    if (mark === "*") {
      const items = (value as Json[]).map((each) => toJson(message, each));
      if (items.length > 0) json[field] = items;
    } else if (mark && mark !== "?") {
      json[field] = toJson(message, value as Json);
    } else if (mark || !isDefault(value)) {
      json[field] = scalar(name, field, sign, value);
    }
  }
  return json;
}

const isDefault = (value: unknown) => !value || (value instanceof Uint8Array && !value.length);

function scalar(message: string, field: string, kind: string, value: unknown): unknown {
  if (kind === "%") return String(value);
  if (kind === "~") return Buffer.from(value as Uint8Array).toString("base64");
  const names = kind === "#" ? ENUMS[`${message}.${field}`] : undefined;
  if (!names) return value;
  const [prefix, list] = names;
  return `${prefix}_${list[value as number]?.toUpperCase()}`;
}

const ENUMS: { [field: string]: [string, readonly string[]] } = {
  "Hello.network": ["NETWORK", schema.NETWORK],
  "Ping.network": ["NETWORK", schema.NETWORK],
  "Subscribe.order": ["RECOVERY_ORDER", schema.RECOVERY_ORDER],
  "Subscribe.activity": ["ACTIVITY", schema.ACTIVITY],
  "SetActivity.activity": ["ACTIVITY", schema.ACTIVITY],
  "Publish.kind": ["PUBLICATION_KIND", schema.PUBLICATION_KIND],
  "Publication.kind": ["PUBLICATION_KIND", schema.PUBLICATION_KIND],
  "Welcome.durability": ["DURABILITY", schema.DURABILITY],
  "PresenceMember.state": ["PRESENCE_STATE", schema.PRESENCE_STATE],
  "CreateChannel.kind": ["CHANNEL_KIND", schema.CHANNEL_KIND],
  "CreateChannel.access": ["CHANNEL_ACCESS", schema.CHANNEL_ACCESS],
  "ChannelInfo.kind": ["CHANNEL_KIND", schema.CHANNEL_KIND],
  "ChannelInfo.access": ["CHANNEL_ACCESS", schema.CHANNEL_ACCESS],
  "InboxEntry.kind": ["CHANNEL_KIND", schema.CHANNEL_KIND],
  "Member.role": ["ROLE", schema.ROLE],
};

describe("golden vectors", () => {
  test.each(frames)("$name", ({ protobuf, json }) => {
    const [frame] = decodeAll(fromHex(protobuf));
    expect(toJson("Frame", frame as unknown as Json)).toEqual(json);
    expect(encode([frame as Frame]).map(toHex)).toEqual([protobuf]);
  });

  test.each(refused.filter((each) => each.protobuf !== undefined))("$name", (vector) => {
    const decode = () => decodeAll(fromHex(vector.protobuf as string), 1000);
    expect(decode).toThrow(DecodeError);
    expect(faultOf(decode)).toBe(vector.error);
  });

  test("there are as many as in Rust", () => {
    expect(frames.length).toBeGreaterThanOrEqual(44);
    expect(refused.length).toBeGreaterThanOrEqual(20);
  });
});

function faultOf(decode: () => unknown): string | undefined {
  try {
    decode();
  } catch (error) {
    return (error as DecodeError).fault;
  }
  return undefined;
}

describe("numbers", () => {
  const edges = [
    0,
    1,
    127,
    128,
    16_383,
    16_384,
    2 ** 31,
    2 ** 32,
    2 ** 49 - 1,
    2 ** 49,
    2 ** 53 - 1,
  ];

  test.each(edges)("%d is exact", (value) => {
    const writer = new Writer();
    writer.varint(value);
    expect(new Reader(writer.take()).varint()).toBe(value);
  });

  test.each([2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n])(
    "%d is never a double",
    (value) => {
      const writer = new Writer();
      writer.varint(value);
      const read = new Reader(writer.take()).varint();
      expect(read).toBe(value);
      expect(() => exact(read)).toThrow(DecodeError);
    },
  );

  test("a small bigint is written as the number it is", () => {
    const writer = new Writer();
    writer.varint(300n);
    expect(toHex(writer.take())).toBe("ac02");
  });

  test.each(["ffffffffffffffffff02", "ffffffffffffffffffff01", "80"])("%s is none", (hex) => {
    expect(() => new Reader(fromHex(hex)).varint()).toThrow(DecodeError);
  });

  test("a small field takes the low bits of a large number", () => {
    expect(new Reader(fromHex("ffffffffffffffffff01")).uint32()).toBe(2 ** 32 - 1);
    expect(new Reader(fromHex("8580808010")).uint32()).toBe(5);
  });
});

describe("frames", () => {
  const two = [{ push: { head: { channel: "a", offset: 1 } } }, { reply: { id: 1, done: {} } }];

  test("come whole, however the bytes are cut", () => {
    const [bytes] = encode(two) as [Uint8Array];
    for (const step of [1, 2, 3, 7, bytes.length]) {
      const decoder = new FrameDecoder(1000);
      const found: Frame[] = [];
      for (let at = 0; at < bytes.length; at += step) {
        found.push(...decoder.push(bytes.subarray(at, at + step)));
      }
      decoder.finish();
      expect(found).toHaveLength(2);
      expect(found[0]?.push?.head?.channel).toBe("a");
    }
  });

  test("are cut into parts after the one that passes the size", () => {
    const large = { command: { publish: { payload: new Uint8Array(600) } } };
    expect(encode([large, large, large], 1000).map((part) => part.length)).toEqual([1222, 611]);
  });

  test("payloads do not share the memory of what was received", () => {
    const bytes = encodeDatagram({ push: { publication: { payload: new Uint8Array([1, 2]) } } });
    const frame = decodeDatagram(bytes);
    bytes.fill(0);
    expect(frame.push?.publication?.payload).toEqual(new Uint8Array([1, 2]));
  });

  test.each([1, 64, 65, 256, 257, 5000])("payloads of %d bytes are what they were", (size) => {
    const payloads = Array.from({ length: 40 }, (_, n) => new Uint8Array(size).fill(n + 1));
    const [bytes] = encode(payloads.map((payload) => ({ push: { publication: { payload } } })));
    const found = new FrameDecoder(10_000).push(bytes as Uint8Array);
    const read = found.map(({ push }) => push?.publication as wire.Publication);
    expect(read.map(({ payload }) => payload)).toEqual(payloads);
    // What an application is given is its own, down to the buffer.
    const [first, second] = read.map((each) => new Publication(each)) as [Publication, Publication];
    expect(first.payload.buffer.byteLength).toBe(size);
    first.payload.fill(0);
    expect(first.payload).toBe(first.payload);
    expect(first.text()).toBe("\0".repeat(size));
    expect(second.payload).toEqual(payloads[1]);
  });

  test.each(["", "plain", "Grüße", "a".repeat(256), `${"a".repeat(256)}é`, "\u{1f6a2}", "\ufeffx"])(
    "the text %j is read as it was written",
    (text) => {
      const payload = new TextEncoder().encode(text);
      const frame = { push: { publication: { channel: text, payload } } };
      const read = decodeDatagram(encodeDatagram(frame)).push?.publication as wire.Publication;
      expect(read.channel).toBe(text);
      // As platforms read what comes from a network: without the mark of its byte order.
      expect(new Publication(read).text()).toBe(text.replace("\ufeff", ""));
    },
  );

  test("a list that is not there is empty, and nobody can make it anything else", () => {
    const { inbox } = decodeDatagram(encodeDatagram({ reply: { inbox: {} } })).reply ?? {};
    expect(inbox?.entries).toEqual([]);
    expect(() => inbox?.entries.push({} as never)).toThrow(TypeError);
    const two = { reply: { inbox: { entries: [{ channel: "a" }, { channel: "b" }] } } };
    const read = decodeDatagram(encodeDatagram(two)).reply?.inbox?.entries;
    expect(read?.map(({ channel }) => channel)).toEqual(["a", "b"]);
  });

  test("the last member of a oneof holds, and parts of one message are merged", () => {
    const first = encodeDatagram({ push: { head: { channel: "a", offset: 7 } } });
    const again = encodeDatagram({ push: { head: { channel: "b" } } });
    const other = encodeDatagram({ push: { gap: { channel: "c" } } });
    const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
    const merged = decodeDatagram(join(first, again)).push;
    expect(merged?.head).toMatchObject({ channel: "b", offset: 7 });
    const last = decodeDatagram(join(first, other)).push;
    expect(last).toMatchObject({ head: undefined, gap: { channel: "c" } });
    // Also where it stands in a second part of the message around it.
    const parts = decodeDatagram(join(first, other, again)).push;
    expect(parts).toMatchObject({ head: { channel: "b", offset: 0 }, gap: undefined });
  });

  test("fields of a newer server are stepped over", () => {
    // Field 101 in all four wire types, in front of a head.
    const unknown = ["a80601", "a9060102030405060708", "aa060161", "ad0601020304"].map(fromHex);
    const known = encodeDatagram({ push: { head: { channel: "a" } } });
    for (const field of unknown) {
      expect(decodeDatagram(Uint8Array.from([...field, ...known])).push?.head?.channel).toBe("a");
    }
  });
});

/** A small generator of chance that repeats itself. */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test("hostile bytes are refused as such, and nothing else happens", () => {
  const random = chance(7);
  for (let round = 0; round < 3000; round++) {
    const vector = frames[Math.floor(random() * frames.length)] as { protobuf: string };
    const bytes = fromHex(vector.protobuf);
    for (let flips = 1 + Math.floor(random() * 4); flips > 0; flips--) {
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    }
    const cut = bytes.subarray(0, Math.ceil(random() * bytes.length));
    try {
      // What is still a frame is the same after another way there and back.
      for (const frame of decodeAll(cut)) {
        const [again] = encode([frame]) as [Uint8Array];
        expect(decodeAll(again)).toEqual([frame]);
      }
    } catch (error) {
      expect(error).toBeInstanceOf(DecodeError);
    }
  }
});
