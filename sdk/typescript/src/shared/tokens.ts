// Who gives the token: a tab, since only pages have what it takes. One is asked at a time; when it dies, or
// says nothing for long, the next one is.
import { SternaError } from "../errors.js";
import type { TokenRequest } from "../options.js";
import type { PackedError } from "./messages.js";
import type { Outlet } from "./outlet.js";
import type { Tab } from "./tab.js";

/** What a tab has said. */
type Answer = { readonly ask: number } & (
  | { readonly token: string }
  | { readonly error: PackedError }
);

interface Open {
  /** Who were asked, the last one being waited for. */
  readonly asked: Map<Tab, Outlet>;
  readonly request: TokenRequest;
  readonly settle: (answer: string | SternaError) => void;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export class Tokens {
  readonly #tabs: () => Iterable<Tab>;
  readonly #open = new Map<number, Open>();
  #nextAsk = 1;

  constructor(tabs: () => Iterable<Tab>) {
    this.#tabs = tabs;
  }

  /** Asks tabs until one answers. */
  ask(request: TokenRequest): Promise<string> {
    const ask = this.#nextAsk++;
    return new Promise((resolve, reject) => {
      const settle = (answer: string | SternaError) => {
        const open = this.#open.get(ask);
        this.#open.delete(ask);
        clearTimeout(open?.timer);
        request.signal.removeEventListener("abort", forget);
        if (typeof answer === "string") resolve(answer);
        else reject(answer);
      };
      const forget = () => {
        for (const outlet of this.#open.get(ask)?.asked.values() ?? []) outlet.say({ forget: ask });
        settle(noTab());
      };
      request.signal.addEventListener("abort", forget);
      this.#open.set(ask, { asked: new Map(), request, settle, timer: undefined });
      this.#askNext(ask);
    });
  }

  onAnswer(answer: Answer): void {
    const open = this.#open.get(answer.ask);
    if (!open) return;
    if ("token" in answer) return open.settle(answer.token);
    const { code, message, ...details } = answer.error;
    open.settle(new SternaError(code, message, details));
  }

  /** A tab is gone: what it was asked, another one is. */
  onGone(tab: Tab): void {
    for (const [ask, { asked }] of this.#open) {
      if ([...asked.keys()].at(-1) === tab) this.#askNext(ask);
    }
  }

  #askNext(ask: number): void {
    const open = this.#open.get(ask);
    if (!open) return;
    clearTimeout(open.timer);
    const { asked, request } = open;
    const waiting = [...this.#tabs()].filter((tab) => tab.isWanting && !asked.has(tab));
    // A page that is in the background may be frozen.
    const tab = waiting.find(({ awayAfter }) => awayAfter === undefined) ?? waiting[0];
    const outlet = tab?.newest;
    if (!tab || !outlet) {
      // Who was asked may still answer; otherwise the client asks again, later.
      if (![...asked.keys()].some((each) => [...this.#tabs()].includes(each))) open.settle(noTab());
      else open.timer = setTimeout(() => open.settle(noTab()), TOKEN_PATIENCE);
      return;
    }
    asked.set(tab, outlet);
    outlet.say({ ask, reason: request.reason, clientId: request.clientId });
    open.timer = setTimeout(() => this.#askNext(ask), TOKEN_PATIENCE);
  }
}

const noTab = () =>
  new SternaError("UNAUTHORIZED", "no tab has given a token", { retryable: true });

/** Milliseconds after which another tab is asked, too; the first answer counts. */
const TOKEN_PATIENCE = 10_000;
