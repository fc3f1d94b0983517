// The last 15 minutes: as the node has kept them, or, from a node that does not, as this page heard.
import type { Cluster, ClusterNode, NodeSamples, Samples, Series, SessionCounts } from "./model.js";

/** A point of the charts each, in milliseconds. */
const EVERY = 5000;
/** Points: 15 minutes. */
export const SLOTS = 180;
/** Nodes whose past is kept; beyond, newcomers have none. */
const NODES = 500;

const COUNTS = ["quic", "webtransport", "wss", "http", "detached", "behind"] as const;
const FIGURES = [
  "publications_per_second",
  "deliveries_per_second",
  "append_p99_ms",
  "conflicts",
  "resumes",
  "path_changes",
] as const;

/** Keeps what the page hears of the cluster. */
export class Recorder {
  readonly #nodes = new Map<string, Map<string, (number | null)[]>>();
  #slot = 0;
  #node = "";

  add(cluster: Cluster): void {
    const slot = Math.floor((cluster.unix_ms ?? 0) / EVERY);
    // A clock that was set back starts afresh.
    if (slot < this.#slot) this.#nodes.clear();
    const passed = Math.min(slot - this.#slot, SLOTS);
    if (this.#slot > 0) for (let step = 0; step < passed; step++) this.#advance();
    this.#slot = slot;
    this.#node = cluster.node ?? "";
    for (const node of cluster.nodes ?? []) this.#put(node);
  }

  samples(): Samples {
    const last = this.#slot * EVERY;
    const nodes = [...this.#nodes].map(([name, kept]): NodeSamples => {
      const of = (figure: string): Series => kept.get(figure) ?? [];
      return {
        name,
        last_unix_ms: last,
        sessions: Object.fromEntries(COUNTS.map((count) => [count, of(count)])),
        ...Object.fromEntries(FIGURES.map((figure) => [figure, of(figure)])),
      };
    });
    return { node: this.#node, unix_ms: last, every_ms: EVERY, nodes };
  }

  #put(node: ClusterNode): void {
    const name = node.name ?? "";
    if (!this.#nodes.has(name)) {
      if (this.#nodes.size >= NODES) return;
      this.#nodes.set(name, new Map());
    }
    const kept = this.#nodes.get(name);
    const put = (figure: string, value: number | null | undefined) => {
      const series = kept?.get(figure) ?? [null];
      series[series.length - 1] = value ?? null;
      kept?.set(figure, series);
    };
    for (const count of COUNTS) put(count, node.sessions?.[count]);
    for (const figure of FIGURES) put(figure, node[figure]);
  }

  #advance(): void {
    for (const kept of this.#nodes.values()) {
      for (const series of kept.values()) {
        series.push(null);
        if (series.length > SLOTS) series.shift();
      }
    }
  }
}

/** What the charts show: the whole cluster, point for point. */
export interface Figures {
  /** Unix time of the last point. */
  readonly end: number;
  readonly every: number;
  readonly sessions: Readonly<Record<keyof SessionCounts, Series>>;
  readonly publications: Series;
  readonly deliveries: Series;
  /** Of the slowest node. */
  readonly append: Series;
  /** A minute. */
  readonly resumes: Series;
  readonly moves: Series;
}

export function figuresOf(samples: Samples): Figures {
  const every = samples.every_ms || EVERY;
  const end = samples.unix_ms ?? 0;
  const merge = (
    of: (node: NodeSamples) => Series | null | undefined,
    into: (a: number, b: number) => number,
  ): Series => {
    const merged: (number | null)[] = new Array(SLOTS).fill(null);
    for (const node of samples.nodes ?? []) {
      const series = of(node) ?? [];
      const age = Math.round((end - (node.last_unix_ms ?? end)) / every);
      series.forEach((value, at) => {
        const slot = SLOTS - series.length - age + at;
        if (value === null || slot < 0 || slot >= SLOTS) return;
        const before = merged[slot] ?? null;
        merged[slot] = before === null ? value : into(before, value);
      });
    }
    return merged;
  };
  const sum = (a: number, b: number) => a + b;
  const counts = COUNTS.map((name) => [name, merge((node) => node.sessions?.[name], sum)]);
  const perMinute = (of: (node: NodeSamples) => Series | null | undefined) =>
    merge((node) => rises(of(node) ?? [], 60_000 / every), sum);
  return {
    end,
    every,
    sessions: Object.fromEntries(counts) as Figures["sessions"],
    publications: merge((node) => node.publications_per_second, sum),
    deliveries: merge((node) => node.deliveries_per_second, sum),
    append: merge((node) => node.append_p99_ms, Math.max),
    resumes: perMinute((node) => node.resumes),
    moves: perMinute((node) => node.path_changes),
  };
}

/** How much a total has grown at each point; a node that was started anew counts from nothing. */
function rises(totals: Series, scale: number): Series {
  return totals.map((total, at) => {
    const before = totals[at - 1] ?? null;
    if (total === null || before === null) return null;
    return (total < before ? total : total - before) * scale;
  });
}
