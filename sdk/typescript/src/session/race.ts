// Which transport is tried when. Pure: the driver starts what the plan says and reports how it went.

import type { TransportName } from "../transport/link.js";
import { NEVER } from "./never.js";

/** Head starts of one attempt, in milliseconds; a transport that is absent is not tried. */
export type Plan = [transport: TransportName, after: number][];

/** What is remembered of the network between attempts. */
export class Race {
  #lastConnect: number | undefined;
  #failures = 0;
  /** While on WebSocket: when to look whether WebTransport works by now. */
  probeAt = NEVER;
  readonly #webTransport: boolean;

  constructor(readonly transports: readonly TransportName[]) {
    this.#webTransport = transports.includes("webtransport");
  }

  /** All transports, WebTransport ahead unless it failed the last time. */
  plan(): Plan {
    return this.transports.map((name) => [name, name === "websocket" ? this.#headStart() : 0]);
  }

  /** Everything at once: the present connection seems dead. */
  planUrgent(): Plan {
    return this.transports.map((name) => [name, 0]);
  }

  onConnected(took: number): void {
    this.#lastConnect = took;
    this.#failures = 0;
    this.probeAt = NEVER;
  }

  /** WebTransport did not come to be. */
  onFailed(now: number): void {
    this.probeAt = now + Math.min(PARK * 2 ** this.#failures++, PARK_CAP);
  }

  /** Another network: what was learnt of the old one does not count. */
  onNetworkChange(now: number): void {
    this.#failures = 0;
    this.#lastConnect = undefined;
    this.probeAt = this.#webTransport ? now : NEVER;
  }

  #headStart(): number {
    if (!this.#webTransport || this.#failures > 0) return 0;
    if (this.#lastConnect === undefined) return HEAD_START;
    return Math.min(Math.max(1.5 * this.#lastConnect, HEAD_START_LEAST), HEAD_START_MOST);
  }
}

const HEAD_START = 500;
const HEAD_START_LEAST = 250;
const HEAD_START_MOST = 1000;
const PARK = 5 * 60_000;
const PARK_CAP = 24 * 3_600_000;
