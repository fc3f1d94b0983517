// A page with @sterna/client in it, in any browser, and a network that carries no UDP.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer as createSecureServer, request } from "node:https";
import { connect, createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { PATIENCE } from "./browser.mjs";

/** Entries of the client as one script, which is `sterna` in the page. */
export async function bundle(...entries) {
  const resolveDir = fileURLToPath(new URL("../../sdk/typescript/src", import.meta.url));
  const names = entries.length > 0 ? entries : ["index", "http"];
  const contents = names.map((name) => `export * from "./${name}.ts";`).join(" ");
  const options = { bundle: true, format: "iife", globalName: "sterna", target: "es2022" };
  const built = await build({ stdin: { contents, resolveDir }, write: false, ...options });
  return built.outputFiles[0].text;
}

/** A page with a client in it, which tells of its states in `window.states`. */
export async function online(browser, node, script, options = {}) {
  const { page, trouble } = await browser.open(`${node.origin}/livez`);
  await page.addScriptTag({ content: script });
  const place = await (await fetch(`${node.origin}/try/node.json`)).json();
  const { token = place.tokens.alice, port = place.port, transports } = options;
  await page.evaluate(
    ({ token, port, transports, hash }) => {
      const states = [];
      const client = new sterna.Client(`sterna://127.0.0.1:${port}`, {
        token,
        certificateHashes: [Uint8Array.from(hash)],
        ...(transports && {
          transports: transports.map((name) => (name === "http" ? sterna.http() : name)),
        }),
      });
      client.on("state", (state) => {
        const { name, transport, error, lastError } = state;
        states.push({ name, transport, code: (error ?? lastError)?.code });
      });
      client.connect();
      Object.assign(window, { client, states });
    },
    { token, port, transports, hash: [...Buffer.from(place.certificateHash, "base64")] },
  );
  return { page, trouble };
}

/** Begins to read a channel from its start into `window.read`. */
export const follow = (page, channel) =>
  page.evaluate((channel) => {
    window.read = [];
    const room = window.client.subscribe(channel, { from: "earliest" });
    (async () => {
      for await (const event of room) {
        if (event.type === "publication") window.read.push([event.position.offset, event.text()]);
      }
    })();
  }, channel);

/** Waits for a condition in the page; drivers of browsers have this in different ways. */
export async function until(page, condition, argument) {
  const late = Date.now() + PATIENCE;
  while (!(await page.evaluate(condition, argument))) {
    if (Date.now() > late) throw new Error(`never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const isIn = (page, name) =>
  until(page, (name) => window.states.at(-1)?.name === name, name);
export const states = (page) => page.evaluate(() => window.states);

/** A network that carries TCP and swallows UDP, as some do. */
export class Wall {
  #udp = createSocket("udp4");
  #streams = new Set();
  #tcp;
  packets = 0;
  /** Nothing is let through at all. */
  #isShut = false;

  static async before(target) {
    const wall = new Wall();
    wall.#tcp = createServer((stream) => {
      if (wall.#isShut) return stream.destroy();
      const onward = connect(target, "127.0.0.1");
      for (const [from, to] of [
        [stream, onward],
        [onward, stream],
      ]) {
        wall.#streams.add(from);
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => wall.#streams.delete(from));
      }
    });
    wall.#tcp.listen(0, "127.0.0.1");
    await once(wall.#tcp, "listening");
    wall.#udp.on("message", () => wall.packets++);
    wall.#udp.bind(wall.port, "127.0.0.1");
    await once(wall.#udp, "listening");
    return wall;
  }

  get port() {
    return this.#tcp.address().port;
  }

  /** Cuts everything off, until `mend`. */
  cut() {
    this.#isShut = true;
    for (const stream of this.#streams) stream.destroy();
  }

  mend() {
    this.#isShut = false;
  }

  async end() {
    this.#udp.close();
    for (const stream of this.#streams) stream.destroy();
    this.#tcp.close();
    await once(this.#tcp, "close");
  }
}

/**
 * A proxy that ends TLS, carries requests and answers as they come, and knows neither UDP nor WebSockets: it
 * answers their upgrades as any other request for something that there is not.
 */
export class HttpProxy {
  #server;
  #streams = new Set();
  upgrades = 0;

  /** `identity`: the key and certificate that it shows. */
  static async before(port, identity) {
    const proxy = new HttpProxy();
    proxy.#server = createSecureServer(identity, (asked, answer) => {
      const { method, url: path, headers } = asked;
      const options = { host: "127.0.0.1", port, method, path, headers, rejectUnauthorized: false };
      const onward = request(options, (far) => {
        answer.writeHead(far.statusCode, far.headers);
        answer.flushHeaders();
        far.pipe(answer);
        far.on("error", () => answer.destroy());
      });
      onward.on("error", () => answer.destroy());
      answer.on("close", () => onward.destroy());
      asked.pipe(onward);
    });
    proxy.#server.on("upgrade", (_, stream) => {
      proxy.upgrades++;
      stream.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    proxy.#server.on("connection", (stream) => {
      proxy.#streams.add(stream);
      stream.on("close", () => proxy.#streams.delete(stream));
    });
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port() {
    return this.#server.address().port;
  }

  /** Everything that is open breaks. */
  cut() {
    for (const stream of this.#streams) stream.destroy();
  }

  async end() {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}
