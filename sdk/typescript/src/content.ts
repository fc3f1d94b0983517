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

export function bytesOf(content: Content): Uint8Array {
  if (content instanceof Uint8Array) return content;
  return utf8(typeof content === "string" ? content : JSON.stringify(content));
}
