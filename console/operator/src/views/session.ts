// One session: who, by which path it came here and went on, what it reads and what waits for it.
import { element } from "../../../shared/element.js";
import type { App, Screen } from "../app.js";
import { confirmByName } from "../confirm.js";
import {
  bytes,
  clock,
  count,
  duration,
  figure,
  milliseconds,
  plural,
  position,
  short,
  transport,
} from "../format.js";
import type { Session, Subscription } from "../model.js";
import { bar, chip, Facts, Panel } from "../parts.js";
import { hrefOf } from "../route.js";
import { Table } from "../table.js";
import { networkName, pathList } from "./paths.js";
import { findSessions } from "./user.js";

const EVERY = 2000;

/** Where a user's sessions are written as a route. */
const USER = "user:";

export function session(app: App, of: string): Screen {
  if (of && !of.startsWith(USER)) return one(app, of);
  return findSessions(app, of.slice(USER.length));
}

function one(app: App, id: string): Screen {
  const facts = new Facts();
  const queue = element("p", { className: "queue" });
  const paths = element("ol", { className: "paths" });
  const subscriptions = subscriptionTable();
  const who = new Panel("Connection", facts.element, queue);
  const panels = {
    who,
    paths: new Panel("Its way here", paths),
    subscriptions: new Panel("Subscriptions", subscriptions.element),
  };
  let user = "";
  const revoke = element("button", { type: "button", hidden: true }, "Revoke the user…");
  who.head.append(revoke);
  revoke.addEventListener("click", () => askToRevoke(app, user));
  const poll = app.poll(
    (signal) => app.api.get<Session>(`operate/session?session=${encodeURIComponent(id)}`, signal),
    EVERY,
    (said) => {
      for (const panel of Object.values(panels)) {
        panel.clear();
        panel.element.hidden = false;
      }
      user = said.user ?? "";
      revoke.hidden = !user || !app.mayChange;
      showFacts(facts, id, said);
      showQueue(queue, said);
      pathList(paths, said.paths ?? []);
      if (!said.paths?.length)
        panels.paths.say("It has not moved since it connected, as far as this node knows.");
      subscriptions.show(said.subscriptions ?? []);
      if (said.more) panels.subscriptions.say("It has more than these.");
    },
    (failure) => {
      if (failure.trouble === "unreachable") {
        for (const panel of Object.values(panels)) panel.fail(failure);
        return;
      }
      // Said once.
      who.fail(failure);
      panels.paths.element.hidden = panels.subscriptions.element.hidden = true;
    },
  );
  return {
    title: `Session ${short(id)}`,
    element: element(
      "div",
      { className: "screen" },
      element(
        "p",
        { className: "crumb" },
        element("a", { href: hrefOf("session") }, "Find another"),
      ),
      ...Object.values(panels).map((panel) => panel.element),
    ),
    end: () => poll.stop(),
  };
}

function showFacts(facts: Facts, id: string, said: Session): void {
  const user = said.user ?? "–";
  facts.set("User", element("a", { href: hrefOf("session", `${USER}${user}`) }, user));
  facts.set("Session", id);
  facts.set("Client", said.client || "–");
  facts.set("Carried by", carrier(said));
  const network = networkName(said.network);
  facts.set("From", [said.remote || "–", network && `(${network})`].filter(Boolean).join(" "));
  facts.set("Edge", said.edge || "–");
  facts.set("State", said.attached === false ? chip("detached", "warn") : chip("attached", "good"));
  // What a node does not measure is left out.
  const { opened_unix_ms: opened, rtt_ms, frames_per_second, sent_frames, received_frames } = said;
  const age = opened ? duration((Date.now() - opened) / 1000) : undefined;
  facts.set("Open for", age, opened ? clock(opened) : "");
  facts.set("Round trip", rtt_ms == null ? undefined : milliseconds(rtt_ms));
  facts.set(
    "Gets",
    frames_per_second == null ? undefined : `${figure(frames_per_second)} frames/s`,
  );
  facts.set("Sent", sent_frames == null ? undefined : plural(sent_frames, "frame"));
  facts.set("Received", received_frames == null ? undefined : plural(received_frames, "frame"));
}

/** As in "QUIC, protobuf". */
const carrier = ({ transport: name, encoding }: Session): string =>
  [transport(name), encoding?.replace(/^sterna\.v\d+\./, "")].filter(Boolean).join(", ");

function showQueue(place: HTMLElement, { queue }: Session): void {
  if (!queue) {
    place.replaceChildren();
    return;
  }
  const { frames = 0, bytes: size = 0, bound_frames, bound_bytes } = queue;
  const words = `${count(frames)} of ${plural(bound_frames ?? 0, "frame")}, ${bytes(size)} of ${bytes(bound_bytes)} wait for its connection`;
  const share = Math.max(
    (frames ?? 0) / Math.max(bound_frames ?? 1, 1),
    (size ?? 0) / Math.max(bound_bytes ?? 1, 1),
  );
  place.replaceChildren(bar(share, share >= 0.8), ` ${words}`);
}

function subscriptionTable(): Table<Subscription> {
  const lag = ({ offset, head_offset }: Subscription) =>
    head_offset == null || offset == null ? 0 : Math.max(0, head_offset - offset);
  return new Table<Subscription>(
    "Subscriptions",
    [
      {
        title: "Channel",
        cell: ({ channel }) => ({
          text: channel ?? "–",
          href: channel ? hrefOf("channel", channel) : undefined,
        }),
        by: ({ channel }) => channel ?? "",
      },
      {
        title: "State",
        cell: ({ state, activity }) => ({
          text: [state, activity].filter(Boolean).join(", ") || "–",
          tone: state === "behind" ? "warn" : undefined,
        }),
        by: ({ state }) => state ?? "",
      },
      {
        title: "Position",
        isFigure: true,
        help: "epoch and offset of the last publication that it was given",
        cell: ({ epoch, offset }) => position(epoch, offset),
      },
      {
        title: "To go",
        isFigure: true,
        help: "publications between its position and the channel's head",
        cell: (it) => count(lag(it)),
        by: lag,
      },
    ],
    ({ channel }) => channel ?? "",
    "It is subscribed to nothing.",
  );
}

function askToRevoke(app: App, user: string): void {
  confirmByName({
    title: `Revoke ${user}?`,
    text: "All tokens of this user that are out become void, and all sessions made with them end, on all nodes.",
    name: user,
    action: "Revoke",
    act: () => app.api.post("revoke", { user }),
  });
}
