// One person's half of the page: a client, the room it looks at, and a network that can be taken away.
import { Client, type Present, type Subscription, type TransportName } from "@sterna/client";
import { history } from "@sterna/client/history";
import { http } from "@sterna/client/http";
import { followPresence } from "@sterna/client/presence";
import { element } from "../../shared/element.js";
import { LiveLine } from "./live.js";
import { Messages } from "./messages.js";
import { Network, type Place } from "./network.js";

const PAGE = 50;

/** Where a node has plain HTTP. */
const HTTP_PATH = "/v1/stream";

/** How long somebody is shown as typing after a sign of it, and how often one's own is sent. */
const TYPING = 3000;

export class Pane {
  readonly element = element("section", { className: "pane" });
  readonly client: Client;
  readonly #network = new Network();
  readonly #messages: Messages;
  readonly #presence = element("p", { className: "presence", ariaLive: "polite" });
  readonly #typing = element("p", { className: "typing", ariaLive: "polite" });
  readonly #typists = new Map<string, ReturnType<typeof setTimeout>>();
  #room: Subscription | undefined;
  #leave = () => {};
  #typedAt = 0;

  constructor(
    readonly user: string,
    token: string,
    place: Place,
    transports: readonly TransportName[],
  ) {
    // Not by its name: a browser may take that for ::1, where nobody listens.
    this.client = new Client(`sterna://127.0.0.1:${place.port}`, {
      token,
      transports: transports.map((name) =>
        // To the page's own origin, as the WebSocket.
        name === "http" ? http({ fetch: this.#network.fetch(), url: HTTP_PATH }) : name,
      ),
      certificateHashes: [place.hash],
      webSocket: this.#network.webSocket(),
      webTransport: this.#network.webTransport(),
      userAgent: "try",
    });
    this.#messages = new Messages(user);
    this.element.ariaLabel = user;
    this.element.append(
      this.#head(),
      this.#presence,
      this.#messages.list,
      this.#typing,
      this.#form(),
      new LiveLine(this.client).element,
    );
    this.client.on("state", ({ name }) => {
      this.element.dataset.state = name;
    });
    this.#messages.list.addEventListener("scroll", () => {
      if (this.#messages.list.scrollTop === 0) this.#loadOlder();
    });
    this.client.connect();
  }

  /** Looks at another channel. */
  open(channel: string): void {
    this.#leave();
    this.#messages.clear();
    this.#presence.textContent = "";
    const room = this.client.subscribe(channel, { presence: true, receipts: true });
    this.#room = room;
    let isLoaded = false;
    room.on("publication", (publication) => {
      this.#messages.add(publication);
      this.#stopTyping(publication.sender);
      // What arrives while nobody looks is read later.
      if (publication.sender !== this.user && !document.hidden) room.markRead().catch(() => {});
    });
    room.on("state", ({ state }) => {
      if (state !== "subscribed" || isLoaded) return;
      isLoaded = true;
      this.#load("end");
    });
    room.on("receipt", ({ user, read }) => {
      if (user !== this.user) this.#messages.readUpto(read);
    });
    room.on("ephemeral", ({ sender }) => sender !== this.user && this.#startTyping(sender));
    room.on("error", ({ error }) => {
      this.#presence.textContent = error.message;
    });
    const unfollow = followPresence(room, (members) => this.#showPresence(members));
    this.#leave = () => {
      unfollow();
      room.unsubscribe();
    };
  }

  #head(): HTMLElement {
    const input = element("input", { type: "checkbox", role: "switch", checked: true });
    input.addEventListener("change", () => {
      this.#network.set(input.checked);
      this.element.classList.toggle("cut", !input.checked);
      if (input.checked) this.client.networkChanged("online");
    });
    return element(
      "header",
      {},
      element("h2", {}, element("i", { className: "dot" }), this.user),
      element("label", { className: "switch" }, input, "network"),
    );
  }

  #form(): HTMLFormElement {
    const input = element("input", {
      type: "text",
      name: "text",
      placeholder: "Write something",
      autocomplete: "off",
      maxLength: 2000,
      ariaLabel: `A message of ${this.user}`,
    });
    const form = element("form", {}, input, element("button", { type: "submit" }, "Send"));
    input.addEventListener("input", () => this.#tellTyping());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (!text || !this.#room) return;
      this.#messages.follow(this.#room.publish(text));
      input.value = "";
      this.#typedAt = 0;
    });
    return form;
  }

  #tellTyping(): void {
    const now = Date.now();
    if (now - this.#typedAt < TYPING / 2 || this.client.state.name !== "connected") return;
    this.#typedAt = now;
    this.#room?.ephemeral("typing", "");
  }

  #startTyping(user: string): void {
    clearTimeout(this.#typists.get(user));
    this.#typists.set(
      user,
      setTimeout(() => this.#stopTyping(user), TYPING),
    );
    this.#showTyping();
  }

  #stopTyping(user: string): void {
    clearTimeout(this.#typists.get(user));
    this.#typists.delete(user);
    this.#showTyping();
  }

  #showTyping(): void {
    const names = [...this.#typists.keys()];
    this.#typing.textContent = names.length > 0 ? `${names.join(" and ")} writes…` : "";
  }

  #showPresence(members: readonly Present[]): void {
    const names = members.map(({ user, state }) =>
      state === "online" ? user : `${user} (${state})`,
    );
    this.#presence.textContent = names.length > 0 ? `here: ${names.join(", ")}` : "nobody is here";
  }

  #loadOlder(): void {
    const epoch = this.#room?.position?.epoch;
    const { first } = this.#messages;
    if (epoch !== undefined && first > 1 && Number.isFinite(first))
      this.#load({ epoch, offset: first });
  }

  /** Shows the page before a position. */
  async #load(before: "end" | { epoch: number; offset: number }): Promise<void> {
    const room = this.#room;
    if (!room) return;
    try {
      const { publications } = await history(room, { before, limit: PAGE });
      if (room === this.#room) for (const one of publications) this.#messages.add(one);
    } catch (error) {
      // The next scroll to the top asks again.
      console.warn("the older messages did not come", error);
    }
  }
}
