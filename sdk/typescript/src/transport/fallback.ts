// WebSocket with plain HTTP behind it, as one candidate of an attempt: HTTP begins when the WebSocket has
// failed, or has not come about for a while. Whichever is there first is the connection. Every attempt begins
// with a WebSocket, so HTTP is left as soon as a new connection finds that it works.
import {
  broken,
  type Dial,
  type Fallback,
  type Link,
  type LinkEnd,
  type LinkEvents,
  type Outgoing,
  type TransportName,
} from "./link.js";
import type { Target } from "./target.js";

/** Puts `last` behind what an application has before it. */
export function behind(last: Dial): Fallback {
  const memory: Memory = { failures: 0, isDeaf: false };
  return (first) => (target, events) => new FallbackLink(first, last, target, events, memory);
}

/** What is remembered of the first transport between attempts. */
interface Memory {
  /** Attempts in which it did not come about, one after the other. */
  failures: number;
  /** It came about and let nothing through. */
  isDeaf: boolean;
}

class FallbackLink implements Link {
  readonly #events: LinkEvents;
  readonly #memory: Memory;
  readonly #candidates = new Set<Link>();
  #first: Link | undefined;
  #chosen: Link | undefined;
  #isOver = false;
  #hasHeard = false;
  #headStart: ReturnType<typeof setTimeout> | undefined;
  #startLast: (() => void) | undefined;

  constructor(
    first: Dial | undefined,
    last: Dial,
    target: Target,
    events: LinkEvents,
    memory: Memory,
  ) {
    this.#events = events;
    this.#memory = memory;
    this.#startLast = () => {
      this.#startLast = undefined;
      clearTimeout(this.#headStart);
      this.#start(last, target);
    };
    if (!first || memory.isDeaf) {
      // The next attempt tries it again.
      memory.isDeaf = false;
      this.#startLast();
      return;
    }
    this.#headStart = setTimeout(
      () => this.#startLast?.(),
      memory.failures > 0 ? HEAD_START_AGAIN : HEAD_START,
    );
    this.#first = this.#start(first, target);
  }

  get transport(): TransportName {
    return this.#chosen?.transport ?? "websocket";
  }

  get isCongested(): boolean {
    return this.#chosen?.isCongested ?? false;
  }

  send(outgoing: readonly Outgoing[]): void {
    this.#chosen?.send(outgoing);
  }

  close(): void {
    this.#isOver = true;
    clearTimeout(this.#headStart);
    for (const link of this.#candidates) link.close();
  }

  #start(dial: Dial, target: Target): Link {
    const link: Link = dial(target, {
      established: () => this.#onEstablished(link),
      frames: (frames) => {
        this.#hasHeard = true;
        if (link === this.#first) this.#memory.failures = 0;
        if (!this.#isOver) this.#events.frames(frames);
      },
      ended: (end) => this.#onEnded(link, end),
    });
    this.#candidates.add(link);
    return link;
  }

  #onEstablished(link: Link): void {
    if (this.#isOver || this.#chosen) return;
    this.#chosen = link;
    clearTimeout(this.#headStart);
    for (const other of this.#candidates) if (other !== link) other.close();
    if (link !== this.#first && this.#first) this.#memory.failures++;
    this.#events.established();
  }

  #onEnded(link: Link, end: LinkEnd): void {
    this.#candidates.delete(link);
    if (this.#isOver) return;
    if (this.#chosen) {
      if (link !== this.#chosen) return;
      // What lets a handshake through and nothing else looks sound again and again. A node says why it ends.
      this.#memory.isDeaf = link === this.#first && !this.#hasHeard && end.code === undefined;
      this.#finish(end);
    } else if (this.#startLast) {
      this.#startLast();
    } else if (this.#candidates.size === 0) {
      this.#finish(end.reason ? end : broken("nothing gets through"));
    }
  }

  #finish(end: LinkEnd): void {
    this.#isOver = true;
    this.#events.ended(end);
  }
}

/** Milliseconds that a WebSocket has for itself; less where it did not come about the last time. */
const HEAD_START = 3000;
const HEAD_START_AGAIN = 500;
