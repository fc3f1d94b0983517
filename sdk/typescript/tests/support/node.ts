// A real `sterna dev` for tests: started on free ports in a folder of its own, killed, started again, and
// the command line beside it. Names the binary as STERNA_BIN, or takes the debug build of the repository.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import WebSocket from "ws";
import { Client, type ClientOptions, type WebSocketConstructor } from "../../src/index.js";
import { nodeWebSocket } from "../../src/node.js";

const BINARY =
  process.env.STERNA_BIN ??
  fileURLToPath(new URL("../../../../target/debug/sterna", import.meta.url));

export class DevNode {
  readonly dataDir = mkdtempSync(join(tmpdir(), "sterna-ts-"));
  #process: ChildProcess | undefined;
  #port = "0";
  readonly #clients: Client[] = [];
  readonly #children: ChildProcess[] = [];

  /** Starts the node and waits until it says that it is up; again on the same port after `kill`. */
  async start(): Promise<void> {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: cargo build -p sterna`);
    const ports = ["--client-port", this.#port, "--http-port", "0"];
    const child = spawn(BINARY, ["dev", "--data-dir", this.dataDir, ...ports]);
    this.#process = child;
    await saysOf(child, "is up");
    this.#port = (JSON.parse(readFileSync(join(this.dataDir, "dev.json"), "utf8")).client as string)
      .split(":")
      .at(-1) as string;
  }

  /** As a power cut would: nothing is said, nothing is finished. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /** Ends everything that was started here. */
  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.dispose()));
    for (const child of this.#children) child.kill("SIGKILL");
    await this.kill();
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  /** Who has signed the node's certificate. */
  authority(): Buffer {
    return readFileSync(join(this.dataDir, "keys", "ca.pem"));
  }

  async token(user = "alice", ...args: string[]): Promise<string> {
    return (await this.cli("token", "--user", user, ...args)).trim();
  }

  get address(): string {
    return `sterna://localhost:${this.#port}`;
  }

  /** A WebSocket that trusts this node. */
  webSocket(): WebSocketConstructor {
    return nodeWebSocket(WebSocket, { ca: this.authority() });
  }

  /** The sum of a metric of the node over all its labels. */
  async metric(name: string): Promise<number> {
    const { http } = JSON.parse(readFileSync(join(this.dataDir, "dev.json"), "utf8"));
    const text = await (await fetch(`http://${http}/metrics`)).text();
    const values = [...text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, "gm"))];
    if (values.length === 0) throw new Error(`the node has no metric ${name}`);
    return values.reduce((sum, [, value]) => sum + Number(value), 0);
  }

  /** A client of this node, with a token for everything unless there is another. */
  async client(options: ClientOptions = {}): Promise<Client> {
    const client = new Client(this.address, {
      token: options.token ?? (await this.token()),
      webSocket: this.webSocket(),
      ...options,
    });
    this.#clients.push(client);
    return client;
  }

  /** Runs a verb of the command line to its end and gives what it printed. */
  async cli(verb: string, ...args: string[]): Promise<string> {
    const run = promisify(execFile);
    return (await run(BINARY, [verb, "--data-dir", this.dataDir, ...args])).stdout;
  }

  /** Starts a verb and gives its process. */
  spawn(verb: string, ...args: string[]): ChildProcess {
    const child = spawn(BINARY, [verb, "--data-dir", this.dataDir, ...args]);
    this.#children.push(child);
    return child;
  }
}

/** What a process prints, line by line. */
export async function* lines(child: ChildProcess): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of child.stdout ?? []) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

/** Waits until a process has said it. Goes on reading, so that the process never waits for a reader. */
function saysOf(child: ChildProcess, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = "";
    const hear = (chunk: unknown) => {
      said += chunk;
      if (said.includes(what)) resolve();
    };
    child.stdout?.on("data", hear);
    child.stderr?.on("data", hear);
    child.once("exit", () => reject(new Error(`the node has ended:\n${said}`)));
  });
}
