// Names as every node takes them: the rules of proto/src/id.rs. A name that breaks them is refused here,
// because a node would refuse the whole Hello that has it. Pure.
import { utf8 } from "./codec/bytes.js";
import { badOption, SternaError } from "./errors.js";
import { CHANNEL_BYTES, CLIENT_ID_BYTES } from "./wire/codes.js";

/** Letters and digits of any script, and some punctuation. */
const CHANNEL = /^[\p{Alphabetic}\p{N}\-_.@+=:/#]+$/u;
const CLIENT_ID = /^[\p{Alphabetic}\p{N}\-_.@+=:]+$/u;

/** Throws `BAD_REQUEST` for what cannot be a channel. */
export function checkChannel(name: string): void {
  if (isName(name, CHANNEL, CHANNEL_BYTES)) return;
  throw new SternaError("BAD_REQUEST", `"${name}" cannot be a channel`);
}

/** Throws `CONFIG` for what cannot be a client id. */
export function checkClientId(name: string): void {
  if (isName(name, CLIENT_ID, CLIENT_ID_BYTES)) return;
  throw badOption(`"${name}" cannot be a client id`);
}

const isName = (name: string, form: RegExp, bytes: number): boolean =>
  form.test(name) && utf8(name).length <= bytes;
