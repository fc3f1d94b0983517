// A connection over plain HTTP: an answer that goes on as events is what is received, further requests are
// what is sent. Requests go one at a time and are numbered, so that one whose answer was lost may be sent
// again; what comes meanwhile goes together with the next.
import { encode, FrameDecoder } from "../codec/frames.js";
import {
  FRAME_BYTES,
  HTTP_PATH,
  HTTP_SEQUENCE_FIELD,
  HTTP_STREAM_FIELD,
  MEDIA_TYPE_PROTOBUF,
} from "../wire/codes.js";
import { bytesOf, EventReader, type StreamEvent } from "./event-stream.js";
import {
  broken,
  CONGESTED_BYTES,
  type Dial,
  type Link,
  type LinkEnd,
  type LinkEvents,
  type Outgoing,
} from "./link.js";
import { urlOf } from "./target.js";

/** Of the platform's `fetch`, what is needed. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Dials with the given `fetch`; `url`, where requests go in place of the target's own address. */
export function httpDial(fetch: Fetch, url?: string): Dial {
  return (target, events) => new HttpLink(fetch, url ?? addressOf(target), events);
}

const addressOf = (target: Parameters<typeof urlOf>[0]): string =>
  new URL(HTTP_PATH, urlOf(target, "https")).href;

class HttpLink implements Link {
  readonly transport = "http";
  readonly #fetch: Fetch;
  readonly #url: string;
  readonly #events: LinkEvents;
  /** Ends every request that is under way. */
  readonly #abort = new AbortController();
  #isOver = false;
  /** What waits to be sent, in bodies that begin and end with a frame; and bytes of it. */
  #waiting: Uint8Array[] = [];
  #unsent = 0;
  #stream: string | undefined;
  #sent = 0;
  #pumping: Promise<void> | undefined;
  /** Given the first body. */
  #open: ((body: Uint8Array) => void) | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  #patience = OPEN_TIMEOUT;

  constructor(fetch: Fetch, url: string, events: LinkEvents) {
    this.#fetch = fetch;
    this.#url = url;
    this.#events = events;
    this.#run().catch((error) => this.#end(broken(error)));
  }

  get isCongested(): boolean {
    return this.#unsent > CONGESTED_BYTES;
  }

  send(outgoing: readonly Outgoing[]): void {
    if (this.#isOver) return;
    for (const body of encode(outgoing, BODY_BYTES)) {
      if (this.#open) {
        this.#open(body);
        this.#open = undefined;
      } else {
        this.#waiting.push(body);
        this.#unsent += body.length;
      }
    }
    this.#pump();
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#silence);
    const leave = () => {
      if (this.#stream) {
        const headers = { [HTTP_STREAM_FIELD]: this.#stream };
        // Goes on while its page ends; whether it arrives or the node notices is all the same.
        const init = { method: "DELETE", headers, keepalive: true, ...PLAIN };
        this.#fetch(this.#url, init).catch(() => {});
      }
      this.#abort.abort();
    };
    // What was handed over leaves first, if that goes quickly.
    const timer = setTimeout(leave, CLOSE_TIMEOUT);
    (this.#pumping ?? Promise.resolve()).finally(() => {
      clearTimeout(timer);
      if (!this.#abort.signal.aborted) leave();
    });
  }

  async #run(): Promise<void> {
    // Whether anything lets it through is known before it says who it is, as over other transports.
    this.#watchSilence();
    await checked(await this.#ask("GET", {}));
    if (this.#isOver) return;
    const first = new Promise<Uint8Array>((resolve) => {
      this.#open = resolve;
    });
    clearTimeout(this.#silence);
    this.#events.established();
    const body = await first;
    this.#watchSilence();
    const headers = { "content-type": MEDIA_TYPE_PROTOBUF };
    const answer = await checked(await this.#ask("POST", headers, body, true));
    const reader = answer.body?.getReader();
    if (!reader) throw new Error("the answer has no body");
    const events = new EventReader(EVENT_CHARS);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error("the connection broke");
      this.#watchSilence();
      for (const event of events.push(value)) this.#onEvent(event);
    }
  }

  #onEvent({ name, data }: StreamEvent): void {
    if (this.#isOver) return;
    if (name === "open") {
      const { stream, keep_alive_ms: keepAlive } = JSON.parse(data);
      this.#stream = stream;
      this.#patience = Math.max(SILENT_SIGNS * keepAlive, OPEN_TIMEOUT);
      this.#watchSilence();
      this.#pump();
    } else if (name === "close") {
      const { code, reason } = JSON.parse(data);
      this.#end({ code, reason });
    } else if (name === "") {
      const decoder = new FrameDecoder(FRAME_BYTES);
      const frames = decoder.push(bytesOf(data));
      decoder.finish();
      this.#events.frames(frames);
    }
  }

  /** A node says something from time to time; a way on which nothing comes is none. */
  #watchSilence(): void {
    clearTimeout(this.#silence);
    if (this.#isOver) return;
    const silent = () => this.#end(broken("nothing was heard for too long"));
    this.#silence = setTimeout(silent, this.#patience);
  }

  #pump(): void {
    if (this.#pumping || !this.#stream || this.#waiting.length === 0) return;
    this.#pumping = this.#sendAll()
      .catch((error) => this.#end(broken(error)))
      .finally(() => {
        this.#pumping = undefined;
      });
  }

  async #sendAll(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#abort.signal.aborted) {
      const body = join(this.#waiting);
      await this.#post(body, ++this.#sent);
      this.#unsent -= body.length;
    }
  }

  /** Sends a body until the node has it. */
  async #post(body: Uint8Array, number: number): Promise<void> {
    const headers = {
      "content-type": MEDIA_TYPE_PROTOBUF,
      [HTTP_STREAM_FIELD]: this.#stream as string,
      [HTTP_SEQUENCE_FIELD]: String(number),
    };
    for (let attempt = 0; ; attempt++) {
      const answer = await this.#ask("POST", headers, body).catch(broken);
      if (this.#abort.signal.aborted) return;
      const status = answer instanceof Response ? answer.status : 0;
      if (status === 204) return;
      // Whoever has no answer asks again with the same number.
      const isWorthIt = status === 0 || status === 408 || status === 429 || status === 503;
      if (!isWorthIt || attempt === ATTEMPTS - 1) {
        throw answer instanceof Response ? await problemOf(answer) : new Error(answer.reason);
      }
      const after = answer instanceof Response && Number(answer.headers.get("retry-after"));
      await new Promise((done) => setTimeout(done, after ? after * 1000 : PAUSE * 2 ** attempt));
    }
  }

  /** `goesOn`: the answer is not over with its head. */
  async #ask(
    method: string,
    headers: Record<string, string>,
    body?: Uint8Array,
    goesOn = false,
  ): Promise<Response> {
    const init: RequestInit = { method, headers, ...PLAIN };
    if (body) init.body = body as Uint8Array<ArrayBuffer>;
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    const timer = setTimeout(abort, REQUEST_TIMEOUT);
    this.#abort.signal.addEventListener("abort", abort);
    try {
      return await this.#fetch(this.#url, { ...init, signal: attempt.signal });
    } finally {
      clearTimeout(timer);
      if (!goesOn) this.#abort.signal.removeEventListener("abort", abort);
    }
  }

  #end(end: LinkEnd): void {
    this.#abort.abort();
    clearTimeout(this.#silence);
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.ended(end);
  }
}

/** An answer that is no refusal. */
async function checked(answer: Response): Promise<Response> {
  if (answer.ok) return answer;
  throw await problemOf(answer);
}

/** What a node, or whatever stands before it, has against a request. */
async function problemOf(answer: Response): Promise<Error> {
  const text = await answer.text().catch(() => "");
  let message = answer.statusText;
  try {
    message = JSON.parse(text).error.message;
  } catch {
    // Not a node's.
  }
  return new Error(`HTTP ${answer.status}: ${message}`);
}

/** Takes bodies from the front, as many as one request may have. */
function join(waiting: Uint8Array[]): Uint8Array {
  let count = 1;
  let length = (waiting[0] as Uint8Array).length;
  for (const { length: next } of waiting.slice(1)) {
    if (length + next > BODY_BYTES) break;
    length += next;
    count++;
  }
  const bodies = waiting.splice(0, count);
  const whole = new Uint8Array(length);
  let at = 0;
  for (const body of bodies) {
    whole.set(body, at);
    at += body.length;
  }
  return whole;
}

/** Nothing on the way keeps an answer, and no other place answers. */
const PLAIN = { cache: "no-store", redirect: "error" } as const;
/** With one frame of the largest payload more, this stays within what a node takes as one body. */
const BODY_BYTES = FRAME_BYTES / 2;
/** One frame of the largest size in base64, and what is around it. */
const EVENT_CHARS = 2 * FRAME_BYTES;
/** Milliseconds until the head of an answer is given up. */
const REQUEST_TIMEOUT = 10_000;
/** Milliseconds in which a connection that opens says something. */
const OPEN_TIMEOUT = 10_000;
/** So many signs of life may be missing. */
const SILENT_SIGNS = 2.5;
/** How often one body is sent before the connection is given up, and milliseconds in between at first. */
const ATTEMPTS = 4;
const PAUSE = 250;
/** Milliseconds that what was handed over has to leave when a link is closed. */
const CLOSE_TIMEOUT = 2000;
