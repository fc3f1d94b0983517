// Reads `text/event-stream`, as the HTML standard has it, as far as nodes use it. Pure.

/** One event: its name, empty for those with frames, and its data. */
export interface StreamEvent {
  readonly name: string;
  readonly data: string;
}

/** Cuts what arrives into events; keeps one unfinished event at most. */
export class EventReader {
  readonly #decoder = new TextDecoder();
  #rest = "";
  /** Up to here there is no end of an event in what is kept. */
  #searched = 0;

  /** `limit`: the longest event, in characters. */
  constructor(readonly limit: number) {}

  /** The events that are whole with these bytes. Comments are none. */
  push(bytes: Uint8Array): StreamEvent[] {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    const events = [];
    for (;;) {
      const end = this.#rest.indexOf("\n\n", this.#searched);
      if (end < 0) break;
      const event = eventOf(this.#rest.slice(0, end));
      if (event) events.push(event);
      this.#rest = this.#rest.slice(end + 2);
      this.#searched = 0;
    }
    if (this.#rest.length > this.limit) throw new Error("an event is too long");
    this.#searched = Math.max(this.#rest.length - 1, 0);
    return events;
  }
}

function eventOf(text: string): StreamEvent | undefined {
  let name = "";
  const data = [];
  for (const line of text.split("\n")) {
    // A line that begins with a colon is a comment.
    const [, field, value] = /^([^:]+):? ?(.*)$/.exec(line) ?? [];
    if (field === "event") name = value ?? "";
    else if (field === "data") data.push(value ?? "");
  }
  return data.length > 0 ? { name, data: data.join("\n") } : undefined;
}

/** The bytes that a text in base64 stands for. */
export function bytesOf(base64: string): Uint8Array {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  return bytes;
}
