// Messages to bytes and back by the tables of the generated schema. Every field that is not there has
// its default; fields that are not known are stepped over.

import { SCHEMA, type Uint64 } from "../wire/schema.js";
import { malformed, type Reader, utf8, type Writer } from "./bytes.js";

/** What may be encoded: any part of a message; what is left out has its default. */
export type Init<T> = T extends Uint8Array | Uint64 | string | boolean
  ? T
  : T extends (infer Item)[]
    ? Init<Item>[]
    : { [Name in keyof T]?: Init<NonNullable<T[Name]>> | undefined };

interface Field {
  readonly name: string;
  readonly tag: number;
  /** `|`: of a oneof, `*`: repeated, `?`: there or not, whatever its value, `:`: another message. */
  readonly mark: string;
  /** Nothing for a string, `~` bytes, `!` bool, `#` uint32, `%` uint64, or the name of a message. */
  readonly kind: string;
}

interface Message {
  readonly fields: Field[];
  /** By field number. */
  readonly byNumber: Field[];
  /** The message that says nothing. */
  readonly blank: Content;
}

// biome-ignore lint/suspicious/noExplicitAny: what a message holds is known to its interface only.
type Content = Record<string, any>;

const EMPTY = new Uint8Array();
const NONE = Object.freeze([]);

const FIELD = /([a-z]+)([~!#%]?)([|*?:]?)([a-z]*)(\d*)/i;

const MESSAGES = new Map(SCHEMA.split("\n").map(parse));

function parse(line: string): [string, Message] {
  const [name, ...parts] = line.split(" ");
  let last = 0;
  const fields = parts.map((part) => {
    const [, name, sign, mark, type, number] = FIELD.exec(part) as unknown as string[];
    last = Number(number || last + 1);
    const isMessage = mark && mark !== "?";
    const kind = isMessage ? type || name?.replace(/./, (first) => first.toUpperCase()) : sign;
    return {
      name,
      tag: last * 8 + Number(isMessage || !kind || kind === "~") * 2,
      mark,
      kind,
    } as Field;
  });
  const byNumber: Field[] = [];
  for (const field of fields) byNumber[Math.floor(field.tag / 8)] = field;
  const blank: Content = {};
  for (const { name, mark, kind } of fields) {
    if (mark === "*") blank[name] = NONE;
    else if (!mark)
      blank[name] = kind === "" ? "" : kind === "~" ? EMPTY : kind === "!" ? false : 0;
  }
  return [name as string, { fields, byNumber, blank }];
}

const message = (name: string): Message => MESSAGES.get(name) as Message;

/** Reads the message called `name` up to `end`, into `content` where a part of it was read already. */
export function read(name: string, reader: Reader, end: number, content?: Content): Content {
  const known = message(name);
  const into = content ?? { ...known.blank };
  let chosen = content && known.fields.find((each) => each.mark === "|" && content[each.name]);
  while (reader.at < end) {
    const tag = Number(reader.varint());
    const field = known.byNumber[Math.floor(tag / 8)];
    if (tag < 8) malformed("field number 0");
    else if (!field) reader.skip(tag % 8, end);
    else if (field.tag !== tag) malformed(`${field.name} with a wrong wire type`);
    else {
      const { name, mark } = field;
      if (mark === "|") {
        // The last one of a oneof holds.
        if (chosen && chosen !== field) into[chosen.name] = undefined;
        chosen = field;
      }
      if (mark !== "*") {
        into[name] = readValue(field, reader, end, into[name]);
      } else {
        if (into[name] === NONE) into[name] = [];
        into[name].push(readValue(field, reader, end));
      }
    }
  }
  if (reader.at > end) malformed("a length beyond its end");
  return into;
}

function readValue({ kind }: Field, reader: Reader, end: number, earlier?: Content): unknown {
  switch (kind) {
    case "":
      return reader.text(end);
    case "~":
      return reader.data(end);
    case "#":
      return reader.uint32();
    case "%":
      return reader.varint();
    case "!":
      return reader.varint() !== 0;
    default:
      return read(kind, reader, reader.length(end), earlier);
  }
}

/** Writes a message in the order of its field numbers. */
export function write(name: string, writer: Writer, content: Content): void {
  for (const field of message(name).fields) {
    const value = content[field.name];
    if (value === undefined) continue;
    if (field.mark === "*") for (const item of value) writeField(field, writer, item);
    else if (field.mark || !isDefault(value)) writeField(field, writer, value);
  }
}

const isDefault = (value: unknown): boolean =>
  !value || (value instanceof Uint8Array && value.length === 0);

function writeField({ tag, kind }: Field, writer: Writer, value: unknown): void {
  writer.varint(tag);
  switch (kind) {
    case "":
      return writer.data(utf8(value as string));
    case "~":
      return writer.data(value as Uint8Array);
    case "#":
    case "%":
    case "!":
      return writer.varint(typeof value === "boolean" ? Number(value) : (value as Uint64));
    default:
      return writer.measured(() => write(kind, writer, value as Content));
  }
}
