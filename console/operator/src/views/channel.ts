// One channel: its positions, who spreads it to whom, who is last, and its members.
import { element } from "../../../shared/element.js";
import { Failure } from "../api.js";
import type { App, Screen } from "../app.js";
import { bytes, clock, count, duration, exact, figure, plural, position } from "../format.js";
import type { Channel, Members } from "../model.js";
import { Facts, form, Panel, reasonOf } from "../parts.js";
import { hrefOf } from "../route.js";
import { Table } from "../table.js";
import { fanoutTree } from "./fanout.js";

const EVERY = 2000;
const MEMBERS = 100;

type Member = NonNullable<Members["members"]>[number];

export function channel(app: App, name: string): Screen {
  return name ? one(app, name) : choose();
}

/** Which one; the busiest are a click away. */
function choose(): Screen {
  const find = form(
    [{ label: "Channel", placeholder: "Channel, as in room:1" }],
    "Open",
    ([name]) => {
      location.hash = hrefOf("channel", name);
    },
  );
  const busiest = element("a", { href: hrefOf("top") }, "Top");
  const hint = element(
    "p",
    { className: "faint" },
    "The busiest channels are under ",
    busiest,
    ".",
  );
  return {
    title: "Channels",
    element: element("div", { className: "screen" }, find, hint),
    search: find.querySelector("input") ?? find,
    end: () => {},
  };
}

function one(app: App, name: string): Screen {
  const facts = new Facts();
  const tree = element("ul", { className: "tree" });
  const about = new Panel("Channel", facts.element);
  const fanout = new Panel("Fan-out", tree);
  const panels = [about, fanout];
  about.head.append(
    element("a", { className: "button", href: hrefOf("trace", `of:${name}`) }, "Trace…"),
  );
  const poll = app.poll(
    (signal) => app.api.get<Channel>(`operate/channel?channel=${encodeURIComponent(name)}`, signal),
    EVERY,
    (said) => {
      for (const panel of panels) panel.clear();
      fanout.element.hidden = false;
      showFacts(facts, said);
      if (said.fanout) fanoutTree(tree, said.fanout);
      else fanout.say("The node does not tell to whom it is spread.");
    },
    (failure) => {
      about.fail(failure);
      // Said once.
      if (failure.trouble === "unreachable") fanout.fail(failure);
      else fanout.element.hidden = true;
    },
  );
  const members = memberPanel(app, name);
  return {
    title: name,
    element: element(
      "div",
      { className: "screen" },
      element(
        "p",
        { className: "crumb" },
        element("a", { href: hrefOf("channel") }, "Open another"),
      ),
      ...panels.map((panel) => panel.element),
      members.element,
    ),
    end: () => {
      poll.stop();
      members.end();
    },
  };
}

function showFacts(facts: Facts, said: Channel): void {
  facts.set("Kind", said.kind || "–");
  facts.set("Access", said.access || undefined);
  facts.set("Owner", said.owner || "–");
  facts.set("Position", position(said.epoch, said.head_offset), "epoch and last offset");
  facts.set("Kept from", exact(said.first_offset), "the first offset that can be read");
  const { ring } = said;
  facts.set(
    "In memory",
    ring ? `from ${exact(ring.from)}, ${bytes(ring.bytes)}` : undefined,
    "what readers get without the store",
  );
  facts.set("Publications", `${figure(said.publications_per_second)} /s`);
  const last = said.last_unix_ms;
  const ago = last ? `${duration((Date.now() - last) / 1000)} ago` : "–";
  facts.set("Last one", ago, last ? clock(last) : "");
  facts.set("Members", said.members == null ? undefined : count(said.members));
  facts.set("Present", said.present == null ? undefined : plural(said.present, "user"));
  facts.set(
    "Waiting",
    said.pending == null ? undefined : plural(said.pending, "publication"),
    "that are not committed yet",
  );
  facts.set("Subscribers at its owner", count(said.subscribers_here));
}

/** The members come when they are asked for: they may be many. They are not for observers. */
function memberPanel(app: App, name: string): { element: HTMLElement; end(): void } {
  const stopping = new AbortController();
  const table = new Table<Member>(
    "Members",
    [
      {
        title: "User",
        cell: ({ user }) => ({ text: user ?? "–", href: hrefOf("session", `user:${user}`) }),
        by: ({ user }) => user ?? "",
      },
      { title: "Role", cell: ({ role }) => role ?? "–", by: ({ role }) => role ?? "" },
    ],
    ({ user }) => user ?? "",
    "It has no members.",
  );
  table.element.hidden = true;
  const show = element("button", { type: "button" }, "Show");
  const panel = new Panel("Members", table.element);
  panel.head.append(show);
  panel.element.hidden = true;
  const unheard = app.onCluster(() => {
    panel.element.hidden = !app.mayChange;
  });
  show.addEventListener("click", async () => {
    show.disabled = true;
    try {
      const query = { channel: name, limit: MEMBERS };
      const said = await app.api.post<Members>("members", query, stopping.signal);
      panel.clear();
      table.element.hidden = false;
      table.show(said.members ?? []);
      if (said.more) panel.say(`The first ${plural(MEMBERS, "member")}.`);
    } catch (error) {
      if (error instanceof Failure) panel.say(reasonOf(error));
    } finally {
      show.disabled = false;
    }
  });
  const end = () => {
    unheard();
    stopping.abort();
  };
  return { element: panel.element, end };
}
