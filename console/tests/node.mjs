// A node of development for the tests of its pages, on free ports that it keeps when it starts again.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BINARY = process.env.STERNA_BIN;
if (!BINARY) throw new Error("STERNA_BIN has to name the node's binary");

/** How long a node may take to be up. */
const PATIENCE = 60_000;

export class DevNode {
  #home = mkdtempSync(join(tmpdir(), "sterna-page-"));
  #child;
  /** The ports of the first start; 0: any. */
  #ports = { client: 0, http: 0 };

  async start() {
    const flags = ["--client-port", this.#ports.client, "--http-port", this.#ports.http];
    this.#child = spawn(BINARY, ["dev", "--data-dir", this.#home, ...flags.map(String)], {
      env: { PATH: process.env.PATH, HOME: this.#home },
      stdio: ["ignore", "pipe", "inherit"],
    });
    // The last line of its banner: dev.json is written before the first.
    await until(this.#child.stdout, / pub room:1 /, PATIENCE);
    const { client, http } = JSON.parse(readFileSync(join(this.#home, "dev.json"), "utf8"));
    this.#ports = { client: portOf(client), http: portOf(http) };
  }

  get origin() {
    return `http://localhost:${this.#ports.http}`;
  }

  get httpPort() {
    return this.#ports.http;
  }

  /** The key and certificate that it shows to clients. */
  identity() {
    const read = (name) => readFileSync(join(this.#home, "keys", name));
    return { key: read("node.key"), cert: read("node.pem") };
  }

  /** Runs a verb of the command line as this node's user and operator; what it printed. */
  async cli([verb, ...rest], input = "") {
    const child = spawn(BINARY, [verb, "--data-dir", this.#home, ...rest], {
      env: { PATH: process.env.PATH, HOME: this.#home },
      stdio: ["pipe", "pipe", "inherit"],
    });
    child.stdin.end(input);
    let said = "";
    child.stdout.on("data", (chunk) => {
      said += chunk;
    });
    const [code] = await once(child, "close");
    if (code !== 0) throw new Error(`sterna ${verb} has ended with ${code}: ${said}`);
    return said;
  }

  /** As a power cut would. */
  async kill() {
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }

  /** Waits for it to end by itself. */
  async ended() {
    if (this.#child.exitCode === null) await once(this.#child, "exit");
  }

  async end() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill();
    rmSync(this.#home, { recursive: true });
  }
}

const portOf = (address) => Number(address.slice(address.lastIndexOf(":") + 1));

async function until(stream, pattern, patience) {
  let said = "";
  const late = setTimeout(
    () => stream.destroy(new Error(`not up in time; it said: ${said}`)),
    patience,
  );
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    said += chunk;
    if (pattern.test(said)) {
      clearTimeout(late);
      stream.resume();
      return;
    }
  }
  throw new Error(`the node ended; it said: ${said}`);
}
