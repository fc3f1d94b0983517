// What an operator should look at, from what the cluster says of itself; nothing: all is well.
import { duration, figure, milliseconds, plural } from "./format.js";
import { type Cluster, type ClusterNode, isAlive } from "./model.js";

export interface Finding {
  readonly tone: "warn" | "bad";
  readonly text: string;
}

/** How full a queue may be before somebody should know. */
const FULL = 0.8;
/** How far clocks may be apart, in milliseconds: as `sterna doctor` has it. */
const CLOCKS = 500;

export function findingsOf(cluster: Cluster): Finding[] {
  const nodes = cluster.nodes ?? [];
  const found = nodes.flatMap((node) => ofNode(node));
  const alive = nodes.filter(isAlive);
  for (const role of ["core", "edge"]) {
    const known = nodes.filter((node) => node.roles?.includes(role));
    if (known.length > 0 && !known.some((node) => node.state === "serving"))
      found.push({ tone: "bad", text: `No ${role} serves.` });
  }
  const releases = new Set(alive.map((node) => node.release).filter(Boolean));
  if (releases.size > 1)
    found.push({ tone: "warn", text: `Nodes run ${[...releases].sort().join(" and ")}.` });
  return found.sort((a, b) => a.tone.localeCompare(b.tone));
}

function ofNode(node: ClusterNode): Finding[] {
  const { name = "a node", state, database, redis, fullest_queue: queue } = node;
  const bad = (text: string): Finding => ({ tone: "bad", text });
  const warn = (text: string): Finding => ({ tone: "warn", text });
  if (state === "silent")
    return [bad(`${name} has been silent for ${duration((node.heard_ms_ago ?? 0) / 1000)}.`)];
  if (state === "gone") return [];
  const found: Finding[] = [];
  if (state === "draining") found.push(warn(`${name} is leaving.`));
  if (database && database.healthy === false)
    found.push(bad(`${name} has no answer of its database.`));
  if (redis && redis.healthy === false)
    found.push(warn(`Redis has not answered ${name} for ${duration(redis.silent_s)}.`));
  if (queue?.bound && (queue.depth ?? 0) >= queue.bound * FULL) {
    const share = figure((100 * (queue.depth ?? 0)) / queue.bound);
    found.push(warn(`The queue ${queue.name} of ${name} is ${share} % full.`));
  }
  const ahead = node.clock_ahead_ms ?? 0;
  if (Math.abs(ahead) > CLOCKS) {
    const where = ahead > 0 ? "ahead" : "behind";
    found.push(warn(`The clock of ${name} is ${milliseconds(Math.abs(ahead))} ${where}.`));
  }
  const behind = node.sessions?.behind ?? 0;
  if (behind > 0) found.push(warn(`${plural(behind, "session")} of ${name} cannot keep up.`));
  return found;
}
