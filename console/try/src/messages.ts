// The messages of one pane: what is stored, in the order of its offsets, then what is on its way.
import type { Publication, Send } from "@sterna/client";
import { element } from "../../shared/element.js";

interface Stored {
  readonly offset: number;
  readonly sender: string;
  readonly text: string;
  readonly time: number;
}

/** What became of a message of one's own, for people. */
const STATES = {
  queued: ["○", "waits for a connection"],
  sent: ["◔", "on its way"],
  notSent: ["◔", "not answered; tried again with the next connection"],
  acked: ["✓", "stored"],
  read: ["✓✓", "read by somebody else"],
  failed: ["✗", "not stored"],
} as const;

export class Messages {
  readonly list = element("ol", { className: "messages", role: "log", ariaLive: "polite" });
  readonly #stored = new Map<number, Stored>();
  readonly #pending = new Map<string, Send>();
  #readUpto = 0;
  #isDue = false;

  /** `me`: whose messages stand on the right. */
  constructor(readonly me: string) {}

  /** The first offset that is shown; 0 before there is one. */
  get first(): number {
    return Math.min(...this.#stored.keys(), Number.POSITIVE_INFINITY) || 0;
  }

  clear(): void {
    this.#stored.clear();
    this.#readUpto = 0;
    this.#pending.clear();
    this.#show();
  }

  /** A publication that has arrived, live or from the past. */
  add(publication: Publication): void {
    const { position, sender, messageId, serverTime } = publication;
    if (messageId) this.#pending.delete(messageId);
    const stored = { offset: position.offset, sender, text: publication.text(), time: serverTime };
    this.#stored.set(position.offset, stored);
    this.#show();
  }

  /** A message of one's own, from the moment it was written. */
  follow(send: Send): void {
    this.#pending.set(send.id, send);
    send.on("state", () => this.#show());
    this.#show();
  }

  /** Somebody else has read everything up to here. */
  readUpto(offset: number): void {
    this.#readUpto = Math.max(this.#readUpto, offset);
    this.#show();
  }

  /** Once in a frame, however much has changed. */
  #show(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      const { list } = this;
      const wasAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
      const fromEnd = list.scrollHeight - list.scrollTop;
      const stored = [...this.#stored.values()].sort((a, b) => a.offset - b.offset);
      list.replaceChildren(
        ...stored.map((message) => this.#item(message)),
        ...[...this.#pending.values()].map((send) => this.#sending(send)),
      );
      list.scrollTop = wasAtEnd ? list.scrollHeight : list.scrollHeight - fromEnd;
    });
  }

  #item({ offset, sender, text, time }: Stored): HTMLLIElement {
    const isMine = sender === this.me;
    const state = offset <= this.#readUpto ? "read" : "acked";
    return bubble(isMine, sender, text, new Date(time), isMine ? state : undefined, `#${offset}`);
  }

  #sending(send: Send): HTMLLIElement {
    return bubble(true, this.me, send.text(), undefined, send.state.name, "");
  }
}

function bubble(
  isMine: boolean,
  sender: string,
  text: string,
  time: Date | undefined,
  state: keyof typeof STATES | undefined,
  offset: string,
): HTMLLIElement {
  const clock = time?.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) ?? "";
  const about = element("span", { className: "about" }, `${offset} ${clock} `);
  if (state) {
    const [sign, meaning] = STATES[state];
    // What is not stored is said in words; of the rest the sign is enough.
    const isSettled = state === "acked" || state === "read";
    const shown = isSettled ? sign : `${sign} ${meaning}`;
    about.append(element("span", { className: state, title: meaning, ariaLabel: meaning }, shown));
  }
  const who = isMine ? [] : [element("b", {}, sender)];
  return element("li", { className: isMine ? "mine" : "" }, ...who, element("p", {}, text), about);
}
