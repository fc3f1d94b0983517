// A node that is none: serves the console's files with a node's headers, and answers what the page asks
// as a test wants it. For what one node of development cannot be brought to: clusters, long paths, roles.
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { cluster, drain, inspection, samples, session, theChannel, trace } from "./answers.mjs";

const DIST = fileURLToPath(new URL("../dist/console/", import.meta.url));

const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css" };

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** By what they open; the last one nothing here. */
export const KEYS = {
  operator: "an operator's key",
  observer: "an observer's key",
  user: "the.token.of a user",
};

/** What a test may change. */
export class Fake {
  /** Paths that this node does not know, as an older one; or other answers, by path. */
  answers = new Map();
  /** What was posted. */
  orders = [];
  #server = createServer((request, response) => this.#answer(request, response));

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
  }

  get origin() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** From now on this path is answered so: with a status and a body. */
  set(path, status, body) {
    this.answers.set(path, { status, body });
  }

  /** As a release before it. */
  forget(path) {
    this.set(
      path,
      404,
      refusal("BAD_REQUEST", "no such path; GET /api/v1/openapi.json lists them"),
    );
  }

  async end() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #answer(request, response) {
    const url = new URL(request.url, this.origin);
    if (url.pathname.startsWith("/api/v1/")) {
      const { status, body } = await this.#api(request, url);
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(body));
      return;
    }
    const name = url.pathname.slice("/console/".length) || "index.html";
    if (name === "node.json") return response.end("{}");
    const content = await readFile(DIST + name).catch(() => undefined);
    if (!content) return response.writeHead(404).end();
    const type = TYPES[name.slice(name.lastIndexOf(".") + 1)];
    response.writeHead(200, { "Content-Type": type, "Content-Security-Policy": POLICY });
    response.end(content);
  }

  async #api(request, url) {
    const path = url.pathname.slice("/api/v1/".length);
    let text = "";
    for await (const chunk of request) text += chunk;
    const key = (request.headers.authorization ?? "").replace("Bearer ", "");
    if (!Object.values(KEYS).includes(key)) {
      return { status: 401, body: refusal("UNAUTHORIZED", "neither an access token nor a key") };
    }
    const isForOperators = request.method === "POST" && /^(drain|revoke|members)$/.test(path);
    if (key === KEYS.user || (isForOperators && key !== KEYS.operator)) {
      return { status: 403, body: refusal("PERMISSION_DENIED", "only an operator may do that") };
    }
    if (request.method === "POST") this.orders.push({ path, body: JSON.parse(text) });
    const given = this.answers.get(path);
    if (given) return typeof given.body === "function" ? given.body(url) : given;
    const made = MADE[path];
    if (!made) return { status: 404, body: refusal("BAD_REQUEST", "no such path") };
    const result = made(url, request.method);
    if (path === "operate/cluster" && key === KEYS.observer) result.role = "observer";
    return { status: 200, body: { result } };
  }
}

export const refusal = (name, message, more = {}) => ({
  error: { code: 1, name, message, retryable: false },
  ...more,
});

const MADE = {
  "operate/cluster": cluster,
  "operate/samples": samples,
  "operate/node": inspection,
  "operate/session": (url) => session(url.searchParams.get("session")),
  "operate/channel": (url) => theChannel(url.searchParams.get("channel")),
  "operate/drain": drain,
  "operate/trace": (url, method) =>
    method === "POST" ? { trace: "7ace", until_unix_ms: Date.now() + 60_000 } : trace(url),
  sessions: () => ({
    user: "alice",
    sessions: [{ session: "5e55101f00", edge: "e2" }],
  }),
  members: () => ({
    members: [
      { user: "alice", role: "owner" },
      { user: "bob", role: "member" },
    ],
    more: false,
  }),
  drain: () => ({ draining: true, deadline_ms: 10_000 }),
  revoke: () => ({ before_ms: Date.now() }),
};
