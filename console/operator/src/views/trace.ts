// The next publication in a channel, followed through the system.
import { element } from "../../../shared/element.js";
import { Failure } from "../api.js";
import type { App, Screen } from "../app.js";
import { duration, microseconds, position } from "../format.js";
import type { Armed, Trace } from "../model.js";
import { Facts, form, Panel, reasonOf } from "../parts.js";
import type { Poll } from "../poll.js";
import { hrefOf } from "../route.js";
import { timeline } from "./timeline.js";

const EVERY = 700;
/** How often it is asked for more steps once there are some. */
const MORE = 20;
/** A channel as a route: what is to be traced there is not known yet. */
const OF = "of:";

export function trace(app: App, of: string): Screen {
  const channel = of.startsWith(OF) ? of.slice(OF.length) : "";
  const id = channel ? "" : of;
  const said = element("p", { className: "said", role: "alert", hidden: true });
  const field = { label: "Channel", placeholder: "Channel, as in room:1", value: channel };
  const ask = form([field], "Wait for the next publication", async ([name]) => {
    said.hidden = true;
    try {
      const armed = await app.api.post<Armed>("operate/trace", { channel: name });
      location.hash = hrefOf("trace", armed.trace ?? "");
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      said.hidden = false;
      said.textContent = reasonOf(error);
    }
  });
  const hint = element(
    "p",
    { className: "faint" },
    "Publishes nothing: the next publication in the channel within a minute is followed through all " +
      "nodes. Steps of different nodes are in the order of their clocks.",
  );
  const found = id ? result(app, id) : undefined;
  return {
    title: "Trace",
    element: element(
      "div",
      { className: "screen" },
      ask,
      said,
      hint,
      ...(found ? [found.element] : []),
    ),
    search: ask.querySelector("input") ?? ask,
    end: () => found?.end(),
  };
}

function result(app: App, id: string): { element: HTMLElement; end(): void } {
  const facts = new Facts();
  const steps = element("div", { className: "timeline" });
  const panel = new Panel("Waiting for a publication", facts.element, steps);
  const title = panel.head.firstElementChild as HTMLElement;
  let seen = 0;
  const poll: Poll<Trace> = app.poll(
    (signal) => app.api.get<Trace>(`operate/trace?trace=${encodeURIComponent(id)}`, signal),
    EVERY,
    (said) => {
      panel.clear();
      show(title, facts, said);
      timeline(steps, said.steps ?? []);
      if (said.steps?.length && ++seen > MORE) poll.stop();
      if (said.state === "expired" && !said.steps?.length) {
        panel.say("Nobody has published there in time. Ask again.");
        poll.stop();
      }
    },
    (failure) => {
      panel.fail(failure);
      if (failure.trouble === "missing") poll.stop();
    },
  );
  return { element: panel.element, end: () => poll.stop() };
}

function show(title: HTMLElement, facts: Facts, said: Trace): void {
  const { channel = "", state, position: at, steps = [] } = said;
  const words: Record<string, string> = {
    waiting: "Waiting for a publication",
    seen: "One publication, step by step",
    expired: steps?.length ? "One publication, step by step" : "Nothing came",
  };
  title.textContent = words[state ?? ""] ?? state ?? "";
  facts.set("Channel", element("a", { href: hrefOf("channel", channel ?? "") }, channel ?? "–"));
  facts.set("Position", at ? position(at.epoch, at.offset) : "–");
  const until = said.until_unix_ms;
  const left = until ? duration((until - Date.now()) / 1000) : "up to a minute";
  facts.set("Waits for", state === "waiting" ? left : undefined);
  const ends = (steps ?? []).map(({ at_us }) => at_us ?? 0);
  facts.set(
    "Took",
    ends.length > 0 ? microseconds(Math.max(...ends) - Math.min(...ends)) : undefined,
  );
}
