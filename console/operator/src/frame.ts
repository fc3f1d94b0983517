// What stands around the screens: the way to each, whether the node answers, who looks; and the keys.
import { element } from "../../shared/element.js";
import type { App, Screen } from "./app.js";
import { duration } from "./format.js";
import { findingsOf } from "./health.js";
import { help } from "./help.js";
import { reasonOf } from "./parts.js";
import { hrefOf, type Screen as Name, routeOf, SCREENS } from "./route.js";
import { channel } from "./views/channel.js";
import { nodes } from "./views/nodes.js";
import { overview } from "./views/overview.js";
import { session } from "./views/session.js";
import { top } from "./views/top.js";
import { trace } from "./views/trace.js";

const OPEN: Record<Name, (app: App, of: string) => Screen> = {
  overview,
  top,
  session,
  channel,
  trace,
  nodes,
};

/** How long a `g` waits for what it goes to, in milliseconds. */
const CHORD = 1500;

/** Signals `leave` when whoever looks signs out. */
export class Frame extends EventTarget {
  readonly #app: App;
  readonly #title = element("h1", { tabIndex: -1 });
  readonly #place = element("div");
  readonly #links = SCREENS.map(({ screen, title }) =>
    element("a", { href: hrefOf(screen) }, title),
  );
  readonly #banner = element("div", { className: "banner", role: "alert", hidden: true });
  readonly #lost = element("span");
  readonly #role = element("span", { className: "role" });
  readonly #asked = element("p", { className: "asked" });
  readonly #ending = new AbortController();
  readonly #clock: ReturnType<typeof setInterval>;
  #screen: Screen | undefined;
  #chordAt = 0;

  constructor(app: App) {
    super();
    this.#app = app;
    const { signal } = this.#ending;
    document.body.replaceChildren(
      this.#header(),
      this.#bannerWithButton(),
      element("main", { id: "main" }, this.#title, this.#place),
    );
    addEventListener("hashchange", () => this.#open(true), { signal });
    addEventListener("keydown", (event) => this.#key(event), { signal });
    app.addEventListener("line", () => this.#tell(), { signal });
    app.addEventListener("cluster", () => this.#tell(), { signal });
    this.#clock = setInterval(() => this.#tell(), 1000);
    this.#open(false);
    this.#tell();
  }

  end(): void {
    clearInterval(this.#clock);
    this.#ending.abort();
    this.#screen?.end();
  }

  #header(): HTMLElement {
    const { page } = this.#app;
    const nav = element("nav", { ariaLabel: "Screens" }, ...this.#links);
    if (page.tryIt) nav.append(element("a", { href: page.tryIt }, "Try it ↗"));
    const keys = element(
      "button",
      { type: "button", className: "quiet", title: "Keys (?)" },
      "Keys",
    );
    keys.addEventListener("click", () => help());
    const out = element("button", { type: "button", className: "quiet" }, "Sign out");
    out.addEventListener("click", () => this.dispatchEvent(new Event("leave")));
    const skip = element("a", { className: "skip", href: "#main" }, "To the content");
    skip.addEventListener("click", (event) => {
      event.preventDefault();
      this.#title.focus();
    });
    return element(
      "header",
      { className: "top" },
      skip,
      element("p", { className: "brand" }, "Sterna"),
      this.#asked,
      element("p", { className: "who" }, this.#role, keys, out),
      nav,
    );
  }

  #bannerWithButton(): HTMLElement {
    const again = element("button", { type: "button" }, "Try now");
    again.addEventListener("click", () => this.#app.retry());
    this.#banner.append(this.#lost, again);
    return this.#banner;
  }

  #open(isMove: boolean): void {
    const { screen, of } = routeOf(location.hash);
    this.#screen?.end();
    this.#screen = OPEN[screen](this.#app, of);
    this.#place.replaceChildren(this.#screen.element);
    this.#title.textContent = this.#screen.title;
    SCREENS.forEach((one, at) => {
      const link = this.#links[at];
      if (link) link.ariaCurrent = one.screen === screen ? "page" : null;
    });
    this.#tell();
    if (!isMove) return;
    // Whoever reads by ear or goes by keyboard is where the screen begins.
    this.#title.focus();
    scrollTo(0, 0);
  }

  /** Whether the node answers, here and in the title that a tab shows. */
  #tell(): void {
    const { cluster, lostAt, failure, role } = this.#app;
    const node = cluster?.node ?? "";
    this.#role.textContent = role ?? "";
    this.#role.hidden = !role;
    this.#asked.textContent = node ? `as ${node} sees it` : "";
    document.body.classList.toggle("lost", lostAt !== undefined);
    const isRefused = failure !== undefined && failure.trouble !== "unreachable";
    this.#banner.hidden = lostAt === undefined && !isRefused;
    if (lostAt !== undefined) {
      const since = duration((Date.now() - lostAt) / 1000);
      this.#lost.textContent = `The node has not answered for ${since}. What you see is as old; it is asked again and again.`;
    } else if (isRefused) this.#lost.textContent = reasonOf(failure);
    const found = cluster ? findingsOf(cluster).length : 0;
    const sign = lostAt !== undefined ? "✕ " : found > 0 ? "▲ " : "";
    document.title = `${sign}${this.#screen?.title ?? ""} · ${node || "Sterna"}`;
  }

  #key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    const isWriting = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
    if (event.key === "Escape" && isWriting) target.blur();
    const isOther = event.ctrlKey || event.metaKey || event.altKey;
    if (isWriting || isOther || document.querySelector("dialog")) return;
    const now = performance.now();
    if (event.key === "/" && this.#screen?.search) this.#screen.search.focus();
    else if (event.key === "?") help();
    else if (event.key === "g") {
      this.#chordAt = now;
      return;
    } else if (now - this.#chordAt < CHORD) {
      const found = SCREENS.find(({ key }) => key === event.key);
      this.#chordAt = 0;
      if (!found) return;
      location.hash = hrefOf(found.screen);
    } else return;
    event.preventDefault();
  }
}
