// The line under a pane that says what its connection is and has been through.
import type { Client } from "@sterna/client";
import { element } from "../../shared/element.js";
import { TRANSPORTS } from "./network.js";

/** How often the counts are looked at. */
const LOOK_AGAIN = 500;

export class LiveLine {
  readonly element = element("dl", { className: "live" });
  readonly #values = new Map<string, HTMLElement>();
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(readonly client: Client) {
    for (const name of [
      "connection",
      "round trip",
      "moved",
      "resumed",
      "repaired",
      "doubles",
      "waiting",
    ]) {
      const value = element("dd", {}, "–");
      this.#values.set(name, value);
      this.element.append(
        element("div", { title: MEANING[name] ?? "" }, element("dt", {}, name), value),
      );
    }
    this.#timer = setInterval(() => this.#show(), LOOK_AGAIN);
    client.on("state", () => this.#show());
    this.#show();
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #show(): void {
    const { state } = this.client;
    const counts = this.client.statistics();
    const roundTrip = counts.roundTrip;
    this.#set("connection", state.name === "connected" ? TRANSPORTS[state.transport] : state.name);
    this.#set("round trip", roundTrip === undefined ? "–" : `${roundTrip.toFixed(1)} ms`);
    this.#set("moved", counts.handovers);
    this.#set("resumed", counts.resumed);
    this.#set("repaired", counts.gapsRecovered);
    this.#set("doubles", counts.duplicatesDropped);
    this.#set("waiting", counts.outboxPublications);
  }

  #set(name: string, value: string | number): void {
    const cell = this.#values.get(name);
    if (cell && cell.textContent !== String(value)) cell.textContent = String(value);
  }
}

const MEANING: Record<string, string> = {
  connection: "what carries the session now",
  "round trip": "of the last ping",
  moved: "connections made before the old one was left",
  resumed: "connections on which the server went on with the session",
  repaired: "holes that were found and filled",
  doubles: "publications that came twice and were shown once",
  waiting: "publications in the outbox",
};
