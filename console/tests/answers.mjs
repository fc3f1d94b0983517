// What a busy cluster of three cores and four edges might answer, in two regions.

const SLOTS = 180;
const EVERY = 5000;

/** The same wave each time: of this length in points, between 0 and 1. */
const wave = (at, length, phase) => 0.5 + 0.5 * Math.sin((2 * Math.PI * (at + phase)) / length);
const noise = (at, seed) => Math.abs(Math.sin(at * 12.9898 + seed * 78.233) * 43758.5453) % 1;

function node(name, roles, at) {
  const isEdge = roles.includes("edge");
  const isFirst = at < 4;
  return {
    name,
    state: name === "e4" ? "draining" : "serving",
    roles,
    region: isFirst ? "eu-west" : "us-east",
    zone: "abc"[at % 3],
    release: "0.9.0",
    up_s: 93_784 + at * 3600,
    client_address: isEdge ? `10.0.${at}.21:4443` : "",
    link_address: `10.0.${at}.21:4450`,
    heard_ms_ago: 180,
    clock_ahead_ms: at - 2,
    sessions: isEdge
      ? {
          quic: 11_840 + at * 37,
          webtransport: 312,
          wss: 1204 - at * 90,
          http: 7 + at,
          detached: 41,
          behind: at === 5 ? 2 : 0,
        }
      : { quic: 0, webtransport: 0, wss: 0, http: 0, detached: 0, behind: 0 },
    capacity: isEdge ? 50_000 : 0,
    publications_per_second: isEdge ? 0 : 640.4 + at,
    deliveries_per_second: isEdge ? 24_700 + at * 210 : 0,
    slots: isEdge ? 0 : [683, 683, 682][at],
    channels: isEdge ? 0 : 4120 + at,
    append_p50_ms: isEdge ? 0 : 3.1,
    append_p99_ms: isEdge ? 0 : 9.4 + at,
    database: isEdge ? null : { healthy: true, answer_ms: 1.4 },
    redis: { healthy: true, silent_s: 0 },
    conflicts: 0,
    resumes: 120 + at,
    path_changes: 900 + at,
    fullest_queue: isEdge ? { name: "outbox", depth: 12, bound: 256 } : null,
    lookups: isEdge
      ? { edge_ring: { hits: 900 + at, misses: 100 } }
      : { owner_ring: { hits: 1200, misses: 400 + at }, redis_pages: { hits: 30, misses: 10 } },
  };
}

const NAMES = {
  c1: ["core"],
  c2: ["core"],
  c3: ["core"],
  e1: ["edge"],
  e2: ["edge"],
  e3: ["edge"],
  e4: ["edge"],
};

export const cluster = () => ({
  node: "c1",
  role: "operator",
  unix_ms: Date.now(),
  nodes: Object.entries(NAMES).map(([name, roles], at) => node(name, roles, at)),
});

export function samples() {
  const now = Date.now();
  const line = (of) => Array.from({ length: SLOTS }, (_, at) => of(at));
  const nodes = Object.entries(NAMES).map(([name, roles], seed) => {
    const isEdge = roles.includes("edge");
    const base = node(name, roles, seed);
    // What a restart looks like: nothing was heard for a while.
    const heard = (of) => line((at) => (name === "e3" && at > 96 && at < 104 ? null : of(at)));
    const count = (most) => heard((at) => Math.round(most * (0.93 + 0.07 * wave(at, 120, seed))));
    let resumes = 80;
    let moves = 700;
    return {
      name,
      last_unix_ms: now,
      sessions: {
        quic: count(base.sessions.quic),
        webtransport: count(base.sessions.webtransport),
        wss: count(base.sessions.wss),
        http: count(base.sessions.http),
        detached: heard((at) => (isEdge ? Math.round(30 * noise(at, seed)) : 0)),
        behind: heard((at) => (isEdge && at > 150 ? Math.round(2 * noise(at, seed)) : 0)),
      },
      publications_per_second: heard((at) =>
        isEdge ? 0 : 560 + 110 * wave(at, 70, seed) + 40 * noise(at, seed),
      ),
      deliveries_per_second: heard((at) =>
        isEdge ? 21_000 + 5000 * wave(at, 70, 1) + 900 * noise(at, seed) : 0,
      ),
      append_p99_ms: heard((at) =>
        isEdge ? 0 : 8 + 2 * noise(at, seed) + (at > 118 && at < 124 ? 21 : 0),
      ),
      conflicts: line(() => 0),
      resumes: heard(
        (at) => (resumes += Math.round(noise(at, seed) * (at > 103 && at < 110 ? 30 : 1))),
      ),
      path_changes: heard((at) => (moves += Math.round(3 * noise(at, seed + 3)))),
    };
  });
  return { node: "c1", unix_ms: now, every_ms: EVERY, nodes };
}

export const inspection = () => ({
  node: "c1",
  sessions: Array.from({ length: 12 }, (_, at) => ({
    session: `5e5510${at.toString(16).padStart(2, "0")}aabbccddeeff0011`,
    user: ["alice", "bob", "carol", "dave"][at % 4],
    client: ["ios 4.2", "android 4.1", "web"][at % 3],
    transport: ["quic", "webtransport", "websocket"][at % 3],
    remote: `203.0.113.${at + 7}:5${at}123`,
    subscriptions: 3 + at,
    behind: at === 0,
    frames_per_second: 48.2 - at * 3.1,
    outbox_frames: at === 0 ? 212 : 0,
    outbox_bytes: at === 0 ? 91_340 : 0,
  })),
  channels: Array.from({ length: 8 }, (_, at) => ({
    channel: `room:${at + 1}`,
    publications_per_second: 61.2 / (at + 1),
    epoch: 2,
    offset: 1_204_931 - at * 9173,
    links: 4,
    present: 312 >> at,
    pending: at === 0 ? 3 : 0,
  })),
  queues: { shard_mailbox: { depth: 41, bound: 1024 }, link_outbox: { depth: 12, bound: 4096 } },
});

export const session = (id) => ({
  session: id,
  user: "alice",
  client: "ios 4.2",
  transport: "quic",
  encoding: "protobuf",
  remote: "198.51.100.44:61022",
  edge: "c1",
  opened_unix_ms: Date.now() - 5_400_000,
  rtt_ms: 38.4,
  queue: { frames: 31, bytes: 18_220, bound_frames: 256, bound_bytes: 1_048_576 },
  sent_frames: 19_322,
  received_frames: 702,
  subscriptions: [
    {
      channel: "room:1",
      activity: "full",
      state: "live",
      epoch: 2,
      offset: 1_204_931,
      head_offset: 1_204_931,
    },
    {
      channel: "room:7",
      activity: "full",
      state: "behind",
      epoch: 1,
      offset: 8112,
      head_offset: 9120,
    },
    {
      channel: "inbox:alice",
      activity: "quiet",
      state: "live",
      epoch: 1,
      offset: 44,
      head_offset: 44,
    },
  ],
  paths: [
    {
      unix_ms: Date.now() - 5_400_000,
      from: null,
      to: "203.0.113.7:50123",
      kind: "connected",
      transport: "quic",
      network_from: null,
      network_to: "wifi",
      gap_ms: null,
      lost: null,
    },
    {
      unix_ms: Date.now() - 900_000,
      from: "203.0.113.7:50123",
      to: "198.51.100.44:61022",
      kind: "path_changed",
      transport: "quic",
      network_from: "wifi",
      network_to: "cellular",
      gap_ms: 84,
      lost: 0,
    },
    {
      unix_ms: Date.now() - 600_000,
      from: "198.51.100.44:61022",
      to: "198.51.100.44:61022",
      kind: "detached",
      transport: "quic",
      network_from: null,
      network_to: null,
      gap_ms: null,
      lost: null,
    },
    {
      unix_ms: Date.now() - 596_000,
      from: "198.51.100.44:61022",
      to: "203.0.113.7:51900",
      kind: "resumed",
      transport: "wss",
      network_from: "cellular",
      network_to: "wifi",
      gap_ms: 4100,
      lost: 3,
    },
  ],
});

export const theChannel = (name) => ({
  channel: name,
  kind: "group",
  access: "members",
  owner: "c1",
  epoch: 2,
  first_offset: 1_190_000,
  head_offset: 1_204_931,
  last_unix_ms: Date.now() - 1200,
  members: 841,
  ring: { from: 1_204_420, bytes: 262_144 },
  fanout: {
    node: "c1",
    region: "eu-west",
    sessions: null,
    children: [
      { node: "e1", region: "eu-west", sessions: 312, children: [] },
      {
        node: "e3",
        region: "us-east",
        relay: true,
        sessions: 208,
        children: [{ node: "e4", region: "us-east", sessions: 77, children: [] }],
      },
      { node: "e2", region: "eu-west", sessions: 41, children: [] },
    ],
  },
  publications_per_second: 61.2,
  subscribers_here: 0,
  pending: 3,
  present: 312,
});

export const drain = () => ({
  draining: false,
  left_ms: 0,
  successor: "",
  sessions: 0,
  connections: 212,
  slots: 683,
});

export const trace = () => ({
  trace: "7ace",
  channel: "room:1",
  state: "seen",
  until_unix_ms: Date.now() + 30_000,
  position: { epoch: 2, offset: 1_204_932 },
  steps: [
    { at_us: 0, node: "e1", what: "received from the publisher" },
    { at_us: 310, node: "c1", what: "given its position" },
    { at_us: 3900, node: "c1", what: "stored" },
    { at_us: 4020, node: "c1", what: "acknowledged" },
    { at_us: 4210, node: "e1", what: "given to sessions", count: 312 },
    { at_us: 4350, node: "e2", what: "given to sessions", count: 41 },
    { at_us: 48_120, node: "e3", what: "given to sessions", count: 208 },
  ],
});
