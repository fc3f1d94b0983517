// Is it well, how much goes through, what has changed in the last 15 minutes.
import { element } from "../../../shared/element.js";
import type { App, Screen } from "../app.js";
import { Chart, type ChartOptions, Cursor } from "../chart.js";
import { count, figure, plural } from "../format.js";
import { findingsOf } from "../health.js";
import { attached, type Cluster, isAlive, type Samples } from "../model.js";
import { Panel } from "../parts.js";
import { type Figures, figuresOf } from "../samples.js";
import { nodeTable } from "./nodes.js";

const SAMPLES_EVERY = 5000;

type Lines = (figures: Figures) => Figures["append"][];

const CHARTS: readonly (ChartOptions & { readonly of: Lines })[] = [
  {
    title: "Sessions",
    lines: ["QUIC", "WebTransport", "WebSocket", "HTTP"],
    help: "with a connection",
    of: ({ sessions }) => [sessions.quic, sessions.webtransport, sessions.wss, sessions.http],
  },
  {
    title: "Publications",
    lines: ["Publications"],
    unit: "/s",
    format: figure,
    help: "committed to the store and given their position",
    of: ({ publications }) => [publications],
  },
  {
    title: "Deliveries",
    lines: ["Deliveries"],
    unit: "/s",
    format: figure,
    help: "publications given to sessions",
    of: ({ deliveries }) => [deliveries],
  },
  {
    title: "Append, p99",
    lines: ["Append"],
    unit: "ms",
    format: figure,
    help: "how long the store takes to commit, of the slowest node",
    of: ({ append }) => [append],
  },
  {
    title: "Paths and resumes",
    lines: ["new paths", "resumes"],
    unit: "/min",
    format: figure,
    help: "connections that moved to another network path, and sessions that went on with a new connection",
    of: ({ moves, resumes }) => [moves, resumes],
  },
  {
    title: "Not in touch",
    lines: ["behind", "detached"],
    help: "behind: the client reads slower than it is written to; detached: without a connection, and may still resume",
    of: ({ sessions }) => [sessions.behind, sessions.detached],
  },
];

export function overview(app: App): Screen {
  const health = element("div", { className: "health" });
  const totals = element("p", { className: "totals" });
  const found = element("p", { className: "totals" });
  const since = element("p", { className: "faint note" });
  since.hidden = true;
  const cursor = new Cursor();
  const charts = CHARTS.map((options) => ({ chart: new Chart(options, cursor), of: options.of }));
  const grid = element("div", { className: "charts" }, ...charts.map(({ chart }) => chart.element));
  const nodes = nodeTable();
  const panel = new Panel("Nodes", nodes.element);
  let isKept = false;

  const draw = (samples: Samples) => {
    const figures = figuresOf(samples);
    for (const { chart, of } of charts) chart.draw(figures.end, figures.every, of(figures));
  };
  const unheard = app.onCluster((cluster) => {
    showHealth(health, app);
    totals.textContent = summary(cluster);
    found.textContent = foundIn(cluster);
    found.hidden = found.textContent === "";
    nodes.show(cluster.nodes ?? []);
    if (!isKept) draw(app.recorder.samples());
  });
  const onLine = () => showHealth(health, app);
  app.addEventListener("line", onLine);
  const poll = app.poll(
    (signal) => app.api.get<Samples>("operate/samples", signal),
    SAMPLES_EVERY,
    (samples) => {
      isKept = true;
      since.hidden = true;
      draw(samples);
    },
    (failure) => {
      if (failure.trouble === "unreachable") return;
      isKept = false;
      since.hidden = false;
      since.textContent =
        failure.trouble === "unknown"
          ? "This node keeps no past: the lines begin where this page was opened."
          : `The node does not tell its past: ${failure.message}. The lines begin where this page was opened.`;
    },
  );
  return {
    title: "Overview",
    element: element(
      "div",
      { className: "screen" },
      health,
      totals,
      found,
      grid,
      since,
      panel.element,
    ),
    end: () => {
      poll.stop();
      unheard();
      app.removeEventListener("line", onLine);
    },
  };
}

function summary({ nodes = [] }: Cluster): string {
  const alive = (nodes ?? []).filter(isAlive);
  const sum = (of: (node: (typeof alive)[number]) => number | null | undefined) =>
    alive.reduce((total, node) => total + (of(node) ?? 0), 0);
  return [
    plural(alive.length, "node"),
    plural(
      sum((node) => attached(node.sessions)),
      "session",
    ),
    plural(
      sum((node) => node.channels),
      "active channel",
    ),
    `${count(sum((node) => node.slots))} of 2,048 slots owned`,
  ].join(" · ");
}

/** Where it is looked for what is read, the nearest first. */
const PLACES: readonly (readonly [string, string])[] = [
  ["edge_ring", "edge rings"],
  ["owner_ring", "owner rings"],
  ["shared_reads", "shared reads"],
  ["local_pages", "pages on disk"],
  ["redis_pages", "pages in Redis"],
  ["archive_index", "archive index"],
];

/** How much of what was read since the nodes started was found there; nothing of what nobody reads. */
export function foundIn({ nodes }: Cluster): string {
  const alive = (nodes ?? []).filter(isAlive);
  const sum = (place: string, of: "hits" | "misses") =>
    alive.reduce((total, node) => total + (node.lookups?.[place]?.[of] ?? 0), 0);
  const parts = PLACES.flatMap(([place, shown]) => {
    const hits = sum(place, "hits");
    const all = hits + sum(place, "misses");
    return all > 0 ? [`${shown} ${Math.round((100 * hits) / all)}% of ${count(all)}`] : [];
  });
  return parts.length > 0 ? `Found in ${parts.join(" · ")}` : "";
}

/** One line when all is well; else one for each thing to look at. */
function showHealth(place: HTMLElement, { cluster, lostAt }: App): void {
  const lines: { tone: string; text: string }[] = cluster ? findingsOf(cluster) : [];
  if (lostAt !== undefined)
    lines.splice(0, lines.length, { tone: "faint", text: "Not known now." });
  else if (lines.length === 0) lines.push({ tone: "good", text: "All is well." });
  const said = lines.map(({ tone, text }) => `${tone}${text}`).join("\n");
  // Read aloud only when it has changed.
  if (place.dataset.said === said) return;
  place.dataset.said = said;
  place.role = "status";
  place.replaceChildren(
    ...lines.map(({ tone, text }) => {
      const sign = { good: "●", warn: "▲", bad: "■", faint: "○" }[tone] ?? "";
      const line = element("p", {}, element("i", { ariaHidden: "true" }, sign), ` ${text}`);
      line.dataset.tone = tone;
      return line;
    }),
  );
}
