// The busiest of the node that is asked, as `sterna top` shows it: sessions, channels, queues.
import { element } from "../../../shared/element.js";
import type { App, Screen } from "../app.js";
import { bytes, count, figure, position, short, transport } from "../format.js";
import type { BusyChannel, BusySession, Inspection, Queue } from "../model.js";
import { Panel } from "../parts.js";
import { hrefOf } from "../route.js";
import { Table } from "../table.js";

const EVERY = 2000;
/** Rows of a table; a node tells at most 200. */
const MOST = 50;

/** Sessions with what they get and what waits for them. */
export function sessionTable(empty: string): Table<BusySession> {
  return new Table<BusySession>(
    "Sessions",
    [
      {
        title: "Session",
        cell: ({ session }) => ({
          text: short(session ?? "–"),
          title: session ?? "",
          href: session ? hrefOf("session", session) : undefined,
        }),
      },
      {
        title: "User",
        cell: ({ user }) => ({
          text: user ?? "–",
          href: user ? hrefOf("session", `user:${user}`) : undefined,
        }),
        by: ({ user }) => user ?? "",
      },
      { title: "Client", cell: ({ client }) => client || "–", by: ({ client }) => client ?? "" },
      {
        title: "By",
        help: "what carries it",
        cell: (session) => transport(session.transport),
        by: (session) => session.transport ?? "",
      },
      { title: "From", cell: ({ remote }) => remote || "–" },
      {
        title: "Frames/s",
        isFigure: true,
        help: "that it gets",
        cell: (session) => figure(session.frames_per_second),
        by: (session) => session.frames_per_second ?? 0,
      },
      {
        title: "Channels",
        isFigure: true,
        help: "subscriptions",
        cell: (session) => count(session.subscriptions),
        by: (session) => session.subscriptions ?? 0,
      },
      {
        title: "Waiting",
        isFigure: true,
        help: "frames and bytes in its outbox",
        cell: ({ outbox_frames, outbox_bytes }) =>
          outbox_frames ? `${count(outbox_frames)} (${bytes(outbox_bytes)})` : "0",
        by: (session) => session.outbox_bytes ?? 0,
      },
      {
        title: "Keeps up",
        cell: ({ behind }) => (behind ? { text: "▲ behind", tone: "warn" } : "yes"),
        by: ({ behind }) => Number(behind ?? false),
      },
    ],
    ({ session }) => session ?? "",
    empty,
  );
}

function channelTable(): Table<BusyChannel> {
  return new Table<BusyChannel>(
    "Channels",
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
        title: "Pub/s",
        isFigure: true,
        help: "of the last ten seconds",
        cell: (channel) => figure(channel.publications_per_second),
        by: (channel) => channel.publications_per_second ?? 0,
      },
      {
        title: "Position",
        isFigure: true,
        help: "epoch and offset of the last publication",
        cell: ({ epoch, offset }) => position(epoch, offset),
        by: ({ offset }) => offset ?? 0,
      },
      {
        title: "Links",
        isFigure: true,
        help: "of workers and of other nodes, to which it is spread",
        cell: ({ links }) => count(links),
        by: ({ links }) => links ?? 0,
      },
      {
        title: "Present",
        isFigure: true,
        cell: ({ present }) => count(present),
        by: ({ present }) => present ?? 0,
      },
      {
        title: "Waiting",
        isFigure: true,
        help: "publications that are not committed yet",
        cell: ({ pending }) => count(pending),
        by: ({ pending }) => pending ?? 0,
      },
    ],
    ({ channel }) => channel ?? "",
    "No channel is busy here.",
  );
}

type NamedQueue = readonly [name: string, queue: Queue];

function queueTable(): Table<NamedQueue> {
  const share = ([, { depth, bound }]: NamedQueue) => (bound ? (depth ?? 0) / bound : 0);
  return new Table<NamedQueue>(
    "Queues",
    [
      { title: "Queue", cell: ([name]) => name, by: ([name]) => name },
      {
        title: "Depth",
        isFigure: true,
        cell: ([, { depth, bound }]) => `${count(depth)} of ${count(bound)}`,
        by: ([, { depth }]) => depth ?? 0,
      },
      {
        title: "Full",
        isFigure: true,
        cell: (queue) => ({
          text: `${figure(100 * share(queue))} %`,
          tone: share(queue) >= 0.8 ? "warn" : undefined,
        }),
        by: share,
      },
    ],
    ([name]) => name,
    "No queue has anything in it.",
  );
}

/** Of `node`; without it of the node that is asked. */
export function top(app: App, node: string): Screen {
  const elsewhere = node ? `&node=${encodeURIComponent(node)}` : "";
  const [sessions, channels, queues] = [
    sessionTable("No session is busy here."),
    channelTable(),
    queueTable(),
  ];
  const panels = [
    new Panel("Sessions", sessions.element),
    new Panel("Channels", channels.element),
    new Panel("Queues", queues.element),
  ];
  const filter = element("input", {
    type: "search",
    placeholder: "Filter (/)",
    ariaLabel: "Filter",
    autocomplete: "off",
    spellcheck: false,
  });
  const pause = element("button", { type: "button", ariaPressed: "false" }, "Pause");
  const who = element("p", { className: "faint grow" });
  let last: Inspection = {};
  const show = () => {
    const text = filter.value;
    const has = (...texts: (string | null | undefined)[]) => texts.some((it) => it?.includes(text));
    sessions.show(
      (last.sessions ?? []).filter((it) =>
        has(it.user, it.client, it.transport, it.remote, it.session),
      ),
    );
    channels.show((last.channels ?? []).filter((it) => has(it.channel)));
    queues.show(Object.entries(last.queues ?? {}).filter(([name, it]) => it.depth && has(name)));
    who.textContent = last.node
      ? `The busiest of ${last.node}${node ? "" : ", the node that is asked"}; those that are behind come first.`
      : "";
  };
  filter.addEventListener("input", show);
  const poll = app.poll(
    (signal) => app.api.get<Inspection>(`operate/node?most=${MOST}${elsewhere}`, signal),
    EVERY,
    (inspection) => {
      for (const panel of panels) panel.clear();
      if (pause.ariaPressed === "true") return;
      last = inspection;
      show();
    },
    (failure) => {
      for (const panel of panels) panel.fail(failure);
    },
  );
  pause.addEventListener("click", () => {
    const isPaused = pause.ariaPressed !== "true";
    pause.ariaPressed = String(isPaused);
    pause.textContent = isPaused ? "Go on" : "Pause";
    poll.now();
  });
  const bar = element("div", { className: "bar" }, who, filter, pause);
  return {
    title: node ? `Top of ${node}` : "Top",
    element: element("div", { className: "screen" }, bar, ...panels.map((panel) => panel.element)),
    search: filter,
    end: () => poll.stop(),
  };
}
