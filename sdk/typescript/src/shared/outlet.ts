// The worker's end of one port: frames to a tab, of which only so many wait unread. A port has no end that
// can be seen and no bound of its own, so the tab says what it has read.
import type { LinkEnd, TransportName } from "../transport/link.js";
import type { Frame, Hello, Push, Reply } from "../wire/schema.js";
import { type FromWorker, PORT_BYTES, PORT_FRAMES } from "./messages.js";

/** What is needed of a `MessagePort`. */
export interface Port {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

export class Outlet {
  /** The Hello that waits for a connection. */
  hello: { readonly id: number; readonly hello: Hello } | undefined;
  isWelcomed = false;
  /** The link is over; the port may still be told things. */
  isOver = false;
  readonly #port: Port;
  #frames: Frame[] = [];
  #batch = { frames: 0, bytes: 0 };
  #unread = { frames: 0, bytes: 0 };
  #isLagging = false;
  #over: TransportName | undefined;
  /** Called when a tab that lagged has room again. */
  onRoom = () => {};

  constructor(port: Port) {
    this.#port = port;
  }

  /** Answers a command. */
  reply(id: number, result: Omit<Reply, "id">): void {
    this.answer({ reply: { id, ...result } });
  }

  /**
   * Says what the tab has asked for. That always has room: there is no more of it than the tab has questions
   * on their way. `over`: what carries the session, with a Welcome.
   */
  answer(frame: Frame, over?: TransportName): void {
    this.#over = over ?? this.#over;
    this.#add(frame);
  }

  /** False: the tab reads too slowly, and this is not for it. */
  push(push: Push, bytes = 0): boolean {
    if (this.isOver) return false;
    const { frames, bytes: unread } = this.#unread;
    if (frames >= PORT_FRAMES || (frames > 0 && unread + bytes > PORT_BYTES)) {
      this.#isLagging = true;
      return false;
    }
    this.#unread.frames++;
    this.#unread.bytes += bytes;
    this.#batch.frames++;
    this.#batch.bytes += bytes;
    this.#add({ push });
    return true;
  }

  /** The tab has read so much. */
  onTook({ frames, bytes }: { frames: number; bytes: number }): void {
    this.#unread.frames -= frames;
    this.#unread.bytes -= bytes;
    const isHalf = this.#unread.frames <= PORT_FRAMES / 2 && this.#unread.bytes <= PORT_BYTES / 2;
    if (!this.#isLagging || !isHalf) return;
    this.#isLagging = false;
    this.onRoom();
  }

  /** What is no frame. */
  say(message: FromWorker): void {
    this.#flush();
    this.#port.postMessage(message);
  }

  /** Ends the link, as the end of a connection. */
  end(end: LinkEnd): void {
    if (this.isOver) return;
    this.say({ ended: end });
    this.isOver = true;
  }

  /** Nothing is said any more: the tab is gone, or has another port. */
  close(): void {
    this.isOver = true;
    this.#frames = [];
    this.#port.onmessage = null;
    this.#port.close();
  }

  #add(frame: Frame): void {
    if (this.isOver) return;
    // What comes together goes together.
    if (this.#frames.length === 0) queueMicrotask(() => this.#flush());
    this.#frames.push(frame);
  }

  #flush(): void {
    if (this.#frames.length === 0 || this.isOver) return;
    const over = this.#over;
    const message: FromWorker = {
      frames: this.#frames,
      pushed: this.#batch,
      ...(over && { over }),
    };
    this.#frames = [];
    this.#batch = { frames: 0, bytes: 0 };
    this.#over = undefined;
    this.#port.postMessage(message);
  }
}
