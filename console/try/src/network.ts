// A network that can be taken away: the connections of browsers, behind a switch. What is cut ends
// without a goodbye, and new connections do not come about until the network is back.
import type { TransportName } from "@sterna/client";
import type { Fetch } from "@sterna/client/http";

/** Where a pane connects to. */
export interface Place {
  readonly port: number;
  /** Of the node's certificate, SHA-256. */
  readonly hash: Uint8Array;
}

/** One pane's network. */
export class Network {
  #isUp = true;
  readonly #open = new Set<() => void>();

  get isUp(): boolean {
    return this.#isUp;
  }

  /** Takes the network away, or gives it back. */
  set(isUp: boolean): void {
    this.#isUp = isUp;
    if (isUp) return;
    for (const cut of this.#open) cut();
    this.#open.clear();
  }

  /** The WebSocket of this network, to the page's own origin: the certificate is not known to browsers. */
  webSocket(): typeof WebSocket {
    const network = this;
    return class extends WebSocket {
      constructor(_url: string | URL, protocols?: string | string[]) {
        super(`ws://${location.host}/v1/connect`, protocols);
        if (!network.#isUp) queueMicrotask(() => this.#cut());
        const cut = () => this.#cut();
        network.#open.add(cut);
        this.addEventListener("close", () => network.#open.delete(cut));
      }

      #cut(): void {
        // The browser may take its time for a proper end; the application hears of it now.
        this.dispatchEvent(new CloseEvent("close", { code: 1006, reason: "the network is gone" }));
        this.close();
      }
    };
  }

  /** The requests of this network; one whose answer goes on ends with it. */
  fetch(): Fetch {
    return async (url, init) => {
      const gone = new AbortController();
      const cut = () => gone.abort(new Error("the network is gone"));
      init.signal?.addEventListener("abort", cut);
      if (!this.#isUp) cut();
      this.#open.add(cut);
      let goesOn = false;
      try {
        const answer = await fetch(url, { ...init, signal: gone.signal });
        goesOn = answer.headers.get("content-type") === "text/event-stream";
        return answer;
      } finally {
        if (!goesOn) this.#open.delete(cut);
      }
    };
  }

  /** The WebTransport of this network, where the browser has one. */
  webTransport(): typeof WebTransport | undefined {
    const network = this;
    if (!globalThis.WebTransport) return undefined;
    return class extends WebTransport {
      constructor(url: string | URL, options?: WebTransportOptions) {
        super(url, options);
        if (!network.#isUp) queueMicrotask(() => this.close());
        const cut = () => this.close();
        network.#open.add(cut);
        const forget = () => network.#open.delete(cut);
        this.closed.then(forget, forget);
      }
    };
  }
}

/** Names of transports for people. */
export const TRANSPORTS: Record<TransportName, string> = {
  webtransport: "WebTransport",
  websocket: "WebSocket",
  http: "HTTP",
};
