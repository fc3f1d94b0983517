// All nodes in full, and the way out for the one that is asked: drain, with its progress.
import { element } from "../../../shared/element.js";
import type { App, Screen } from "../app.js";
import { count, duration, figure, milliseconds } from "../format.js";
import { attached, type ClusterNode, isAlive, type Queue } from "../model.js";
import { Panel } from "../parts.js";
import { hrefOf } from "../route.js";
import { type Cell, type Column, Table } from "../table.js";
import { drainPanel } from "./drain.js";

const TONES: Record<string, Cell["tone"]> = {
  serving: "good",
  draining: "warn",
  silent: "bad",
  gone: "faint",
};

const SIGNS: Record<string, string> = { good: "●", warn: "▲", bad: "■", faint: "○" };

const NODE: Column<ClusterNode> = {
  title: "Node",
  cell: ({ name }) => ({
    text: name ?? "–",
    title: "the busiest there",
    href: name ? hrefOf("top", name) : undefined,
  }),
  by: ({ name }) => name ?? "",
};

const STATE: Column<ClusterNode> = {
  title: "State",
  cell: (node) => {
    const state = node.state ?? "–";
    const tone = TONES[state];
    const since = state === "silent" ? ` ${duration((node.heard_ms_ago ?? 0) / 1000)}` : "";
    return { text: `${SIGNS[tone ?? "faint"]} ${state}${since}`, tone };
  },
  by: ({ state }) => state ?? "",
};

/** A figure of those that are alive: of others it is old. */
function live(
  title: string,
  help: string,
  of: (node: ClusterNode) => number | null | undefined,
  format: (value: number | null | undefined) => string = count,
): Column<ClusterNode> {
  return {
    title,
    help,
    isFigure: true,
    cell: (node) => (isAlive(node) ? format(of(node)) : { text: "–", tone: "faint" }),
    by: (node) => (isAlive(node) ? (of(node) ?? -1) : -1),
  };
}

const SESSIONS = live("Sessions", "with a connection", ({ sessions }) => attached(sessions));
const BEHIND = live(
  "Behind",
  "sessions whose client reads slower than it is written to",
  ({ sessions }) => sessions?.behind,
);
const PUBLICATIONS = live(
  "Pub/s",
  "publications committed here",
  (node) => node.publications_per_second,
  figure,
);
const DELIVERIES = live(
  "Deliv/s",
  "publications given to sessions here",
  (node) => node.deliveries_per_second,
  figure,
);
const APPEND = live(
  "p99",
  "how long appends to the store take, of the last four seconds",
  (node) => (node.roles?.includes("core") ? node.append_p99_ms : null),
  milliseconds,
);
const QUEUE: Column<ClusterNode> = {
  title: "Queue",
  help: "how full the fullest queue is",
  isFigure: true,
  cell: ({ fullest_queue: queue }) => {
    const share = fullness(queue);
    if (!queue || share === 0) return "–";
    return { text: `${figure(100 * share)} %`, title: queue.name ?? "", tone: tone(share) };
  },
  by: ({ fullest_queue: queue }) => fullness(queue),
};

const fullness = (queue: Queue | null | undefined): number =>
  queue?.bound ? (queue.depth ?? 0) / queue.bound : 0;

const tone = (share: number): Cell["tone"] =>
  share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : undefined;

/** What the overview shows of each node. */
export function nodeTable(): Table<ClusterNode> {
  const columns = [NODE, STATE, SESSIONS, BEHIND, PUBLICATIONS, DELIVERIES, APPEND, QUEUE];
  return new Table("Nodes", columns, keyOf, "No node has been heard of.");
}

const keyOf = ({ name }: ClusterNode): string => name ?? "";

const MORE: readonly Column<ClusterNode>[] = [
  { title: "Roles", cell: ({ roles }) => roles?.join(", ") || "–" },
  {
    title: "Place",
    help: "region and zone",
    cell: ({ region, zone }) => [region, zone].filter(Boolean).join(" / ") || "–",
    by: ({ region, zone }) => `${region} ${zone}`,
  },
  { title: "Release", cell: ({ release }) => release || "–", by: ({ release }) => release ?? "" },
  live("Up", "since the process began", ({ up_s }) => up_s, duration),
  {
    title: "Slots",
    help: "of 2048, those whose channels it owns",
    isFigure: true,
    cell: ({ slots }) => count(slots),
    by: ({ slots }) => slots ?? 0,
  },
  live("Channels", "with somebody or something in memory", ({ channels }) => channels),
  {
    title: "Database",
    help: "how long it took for the node's last beat",
    isFigure: true,
    cell: ({ database }) => {
      if (!database) return "–";
      return database.healthy === false
        ? { text: "■ no answer", tone: "bad" }
        : milliseconds(database.answer_ms);
    },
  },
  {
    title: "Redis",
    help: "nobody waits for it",
    cell: ({ redis }) => {
      if (!redis) return "–";
      return redis.healthy === false
        ? { text: `▲ silent ${duration(redis.silent_s)}`, tone: "warn" }
        : "ok";
    },
  },
  {
    title: "Clock",
    help: "how far it is ahead of the clock of the node that is asked",
    isFigure: true,
    cell: ({ clock_ahead_ms: ahead }) =>
      ahead == null ? "–" : `${ahead > 0 ? "+" : ""}${ahead} ms`,
  },
  {
    title: "Clients at",
    cell: ({ client_address: address }) => address || "–",
  },
];

export function nodes(app: App): Screen {
  const columns = [NODE, STATE, SESSIONS, PUBLICATIONS, APPEND, QUEUE, ...MORE];
  const table = new Table("Nodes", columns, keyOf, "No node has been heard of.");
  const panel = new Panel("All nodes", table.element);
  const drain = drainPanel(app);
  const unheard = app.onCluster((cluster) => {
    table.show(cluster.nodes ?? []);
    drain.name(cluster.node ?? "");
  });
  return {
    title: "Nodes",
    element: element("div", { className: "screen" }, panel.element, drain.element),
    end: () => {
      unheard();
      drain.end();
    },
  };
}
