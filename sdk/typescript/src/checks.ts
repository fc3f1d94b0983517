// What applications give, checked where it comes in: on the wire it would end the session for good, and from
// the outbox again and again.
import { badOption } from "./errors.js";
import type { Position } from "./options.js";

/** The value, if it is a whole number from 0 on. */
export function natural(value: number, what: string): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw badOption(`${what}: ${value} is no whole number from 0 on`);
}

/** The place of a name in a list of names. */
export function indexIn<Name>(names: readonly Name[], name: Name, what: string): number {
  const index = names.indexOf(name);
  if (index >= 0) return index;
  throw badOption(`${what}: ${name} is none of ${names}`);
}

/** The position, if both its numbers are some. */
export function checked<Given extends Position | undefined>(position: Given, what: string): Given {
  if (position) {
    natural(position.epoch, what);
    natural(position.offset, what);
  }
  return position;
}
