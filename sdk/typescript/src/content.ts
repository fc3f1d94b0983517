// What applications publish, as bytes.
import { utf8 } from "./codec/bytes.js";

/** Bytes as they are, text as UTF-8, anything else as JSON. */
export type Content =
  | Uint8Array
  | string
  | number
  | boolean
  | null
  | readonly unknown[]
  | { readonly [name: string]: unknown };

/** Bytes of one's own: the application may use its buffer again. */
export function bytesOf(content: Content): Uint8Array {
  // Not `slice`, which of a `Buffer` gives the same memory.
  if (content instanceof Uint8Array) return new Uint8Array(content);
  return utf8(typeof content === "string" ? content : JSON.stringify(content));
}
