// What a node answers. Everything may be missing: it may be of another release.

type Said<T> = { readonly [Name in keyof T]?: T[Name] | null };

export type Cluster = Said<{
  node: string;
  /** Of the key that was asked with: `operator` or `observer`. */
  role: string;
  unix_ms: number;
  nodes: readonly ClusterNode[];
}>;

export type ClusterNode = Said<{
  name: string;
  state: string;
  roles: readonly string[];
  region: string;
  zone: string;
  release: string;
  up_s: number;
  client_address: string;
  link_address: string;
  heard_ms_ago: number;
  clock_ahead_ms: number;
  sessions: SessionCounts;
  capacity: number;
  publications_per_second: number;
  deliveries_per_second: number;
  slots: number;
  channels: number;
  append_p50_ms: number;
  append_p99_ms: number;
  database: Said<{ healthy: boolean; answer_ms: number }>;
  redis: Said<{ healthy: boolean; silent_s: number }>;
  conflicts: number;
  resumes: number;
  path_changes: number;
  fullest_queue: Queue & Said<{ name: string }>;
  /** By where it was looked for what was read, since the node started. */
  lookups: Readonly<Record<string, Lookups>>;
}>;

export type Lookups = Said<{ hits: number; misses: number }>;

export type SessionCounts = Said<{
  quic: number;
  webtransport: number;
  wss: number;
  http: number;
  detached: number;
  behind: number;
}>;

export type Queue = Said<{ depth: number; bound: number }>;

export type Inspection = Said<{
  node: string;
  sessions: readonly BusySession[];
  channels: readonly BusyChannel[];
  queues: Readonly<Record<string, Queue>>;
}>;

export type BusySession = Said<{
  session: string;
  user: string;
  client: string;
  transport: string;
  remote: string;
  subscriptions: number;
  behind: boolean;
  frames_per_second: number;
  outbox_frames: number;
  outbox_bytes: number;
}>;

export type BusyChannel = Said<{
  channel: string;
  publications_per_second: number;
  epoch: number;
  offset: number;
  links: number;
  present: number;
  pending: number;
}>;

/** One number each `every_ms`, oldest first; null where nothing was heard. */
export type Series = readonly (number | null)[];

export type Samples = Said<{
  node: string;
  unix_ms: number;
  every_ms: number;
  nodes: readonly NodeSamples[];
}>;

export type NodeSamples = Said<{
  name: string;
  last_unix_ms: number;
  sessions: Said<Record<keyof SessionCounts, Series>>;
  publications_per_second: Series;
  deliveries_per_second: Series;
  append_p99_ms: Series;
  conflicts: Series;
  resumes: Series;
  path_changes: Series;
}>;

export type Found = Said<{ sessions: readonly Said<{ session: string; edge: string }>[] }>;

export type Session = Said<{
  session: string;
  user: string;
  client: string;
  transport: string;
  encoding: string;
  remote: string;
  network: string;
  edge: string;
  /** False: without a connection, and it may be resumed. */
  attached: boolean;
  opened_unix_ms: number;
  rtt_ms: number;
  frames_per_second: number;
  queue: Said<{ frames: number; bytes: number; bound_frames: number; bound_bytes: number }>;
  sent_frames: number;
  received_frames: number;
  subscriptions: readonly Subscription[];
  more: boolean;
  paths: readonly Path[];
}>;

export type Subscription = Said<{
  channel: string;
  activity: string;
  state: string;
  epoch: number;
  offset: number;
  head_offset: number;
}>;

export type Path = Said<{
  unix_ms: number;
  from: string;
  to: string;
  kind: string;
  transport: string;
  network_from: string;
  network_to: string;
  gap_ms: number;
  lost: number;
}>;

export type Channel = Said<{
  channel: string;
  kind: string;
  access: string;
  owner: string;
  epoch: number;
  first_offset: number;
  head_offset: number;
  last_unix_ms: number;
  members: number;
  ring: Said<{ from: number; bytes: number }>;
  fanout: Branch;
  publications_per_second: number;
  pending: number;
  present: number;
  subscribers_here: number;
}>;

export type Branch = Said<{
  node: string;
  region: string;
  /** Missing: only that node knows. */
  sessions: number;
  /** It spreads them in its region. */
  relay: boolean;
  children: readonly Branch[];
}>;

export type Members = Said<{
  members: readonly Said<{ user: string; role: string; muted: boolean }>[];
  more: boolean;
}>;

export type Armed = Said<{ trace: string; until_unix_ms: number }>;

export type Trace = Said<{
  trace: string;
  channel: string;
  state: string;
  until_unix_ms: number;
  position: Said<{ epoch: number; offset: number }>;
  steps: readonly Step[];
}>;

/** `count`: how many others, as `what` says. */
export type Step = Said<{ at_us: number; node: string; what: string; count: number }>;

export type Drain = Said<{
  draining: boolean;
  left_ms: number;
  successor: string;
  sessions: number;
  connections: number;
  slots: number;
}>;

/** With a connection. */
export const attached = (counts: SessionCounts | null | undefined): number =>
  (counts?.quic ?? 0) + (counts?.webtransport ?? 0) + (counts?.wss ?? 0) + (counts?.http ?? 0);

/** Whether it takes part, be it only until it has left. */
export const isAlive = (node: ClusterNode): boolean =>
  node.state === "serving" || node.state === "draining";
