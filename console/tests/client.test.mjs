// What @sterna/client promises, in a real browser: everything and in order over each transport, through a
// freezing of its tab, past a network without UDP, and an end instead of a storm when its token is bad.
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { Browser } from "./browser.mjs";
import { DevNode } from "./node.mjs";

const node = new DevNode();
let browser;
let client;

before(async () => {
  const sources = fileURLToPath(new URL("../../sdk/typescript/src/index.ts", import.meta.url));
  const options = { bundle: true, format: "iife", globalName: "sterna", target: "es2022" };
  const built = await build({ entryPoints: [sources], write: false, ...options });
  client = built.outputFiles[0].text;
  await node.start();
  // The WebSocket goes where the page cannot bring the authority of the test along.
  browser = await Browser.launch(["--ignore-certificate-errors"]);
});

after(async () => {
  await browser?.close();
  await node.end();
});

/** A page with a client in it, which tells of its states in `window.states`. */
async function online(options = {}) {
  const { page, trouble } = await browser.open(`${node.origin}/livez`);
  await page.addScriptTag({ content: client });
  const place = await (await fetch(`${node.origin}/try/node.json`)).json();
  const { token = place.tokens.alice, port = place.port, transports } = options;
  await page.evaluate(
    ({ token, port, transports, hash }) => {
      const states = [];
      const client = new sterna.Client(`sterna://127.0.0.1:${port}`, {
        token,
        certificateHashes: [Uint8Array.from(hash)],
        ...(transports && { transports }),
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
const follow = (page, channel) =>
  page.evaluate((channel) => {
    window.read = [];
    const room = window.client.subscribe(channel, { from: "earliest" });
    (async () => {
      for await (const event of room) {
        if (event.type === "publication") window.read.push([event.position.offset, event.text()]);
      }
    })();
  }, channel);

const until = (page, condition, argument) => page.waitForFunction(condition, argument);
const isIn = (page, name) => until(page, (name) => window.states.at(-1)?.name === name, name);
const states = (page) => page.evaluate(() => window.states);

/** What the page has to have read: the lines in their order, from offset 1, each once. */
const numbered = (lines) => lines.map((line, at) => [at + 1, line]);

for (const transport of ["webtransport", "websocket"]) {
  test(`i13 10,000 publications reach a page over ${transport}, complete and in order`, async () => {
    const channel = `room:many-${transport}`;
    const { page, trouble } = await online({ transports: [transport] });
    await isIn(page, "connected");
    await follow(page, channel);
    const lines = Array.from({ length: 10_000 }, (_, at) => `line ${at + 1}`);
    await node.cli(["pub", channel, "--stdin"], lines.join("\n"));
    await until(page, (count) => window.read.length >= count, lines.length);
    assert.deepEqual(await page.evaluate(() => window.read), numbered(lines));
    assert.equal((await states(page)).at(-1).transport, transport);
    assert.deepEqual(trouble, []);
    await page.close();
  });
}

// A browser without a screen keeps every page visible and freezes none: the debugger stops its scripts, and
// where a browser would have told the page before, it is told.
for (const isTold of [true, false]) {
  const how = isTold ? "was told" : "was not told, as when a machine sleeps";
  test(`i13 a tab that is frozen and ${how} misses nothing`, async () => {
    const channel = `room:frozen-${isTold}`;
    const { page } = await online();
    await isIn(page, "connected");
    await follow(page, channel);
    const lines = Array.from({ length: 60 }, (_, at) => `line ${at + 1}`);
    await node.cli(["pub", channel, "--stdin"], lines.slice(0, 10).join("\n"));
    await until(page, () => window.read.length >= 10);
    const devtools = await page.context().newCDPSession(page);
    const tell = (name) =>
      page.evaluate((name) => void document.dispatchEvent(new Event(name)), name);
    if (isTold) {
      await tell("freeze");
      await isIn(page, "background");
    }
    await devtools.send("Debugger.enable");
    const paused = new Promise((resolve) => devtools.once("Debugger.paused", resolve));
    await devtools.send("Debugger.pause");
    const waking = page.evaluate(() => window.read.length);
    await paused;
    await node.cli(["pub", channel, "--stdin"], lines.slice(10).join("\n"));
    await devtools.send("Debugger.resume");
    assert.equal(await waking, 10, "it slept");
    if (isTold) await tell("resume");
    await until(page, () => window.read.length >= 60);
    assert.deepEqual(await page.evaluate(() => window.read), numbered(lines));
    assert.equal((await states(page)).at(-1).name, "connected");
    await page.close();
  });
}

test("without UDP a page is connected by WebSocket", async () => {
  const { port } = await (await fetch(`${node.origin}/try/node.json`)).json();
  const wall = await Wall.before(port);
  try {
    const { page } = await online({ port: wall.port });
    await isIn(page, "connected");
    assert.equal((await states(page)).at(-1).transport, "websocket");
    await follow(page, "room:wall");
    await page.evaluate(() => window.client.publish("room:wall", "through"));
    await until(page, () => window.read.length === 1);
    assert.ok(wall.packets > 0, "UDP was tried");
    await page.close();
  } finally {
    await wall.end();
  }
});

const refusals = {
  "is none": async () => ["nonsense", "UNAUTHORIZED"],
  "is of somebody else": async () => {
    const token = await node.cli(["token", "--user", "alice"]);
    const [head, body, signature] = token.trim().split(".");
    return [`${head}.${body}.${[...signature].reverse().join("")}`, "UNAUTHORIZED"];
  },
};

for (const [what, make] of Object.entries(refusals)) {
  test(`a token that ${what} ends in one attempt`, async () => {
    const [token, code] = await make();
    const { page } = await online({ token });
    await isIn(page, "disconnected");
    const seen = await states(page);
    assert.equal(seen.at(-1).code, code);
    assert.equal(seen.filter(({ name }) => name === "connecting").length, 1, "no storm");
    await page.close();
  });
}

test("i11 whose token is revoked is disconnected, told why, and stays away", async () => {
  const token = (await node.cli(["token", "--user", "mallory"])).trim();
  const { page } = await online({ token });
  await isIn(page, "connected");
  await node.cli(["revoke", "mallory"]);
  await isIn(page, "disconnected");
  const seen = await states(page);
  assert.equal(seen.at(-1).code, "UNAUTHORIZED", JSON.stringify(seen));
  assert.equal(seen.filter(({ name }) => name === "connected").length, 1, "it did not come again");
  await page.close();
});

/** A network that carries TCP and swallows UDP, as some do. */
class Wall {
  #udp = createSocket("udp4");
  #streams = new Set();
  #tcp;
  packets = 0;

  static async before(target) {
    const wall = new Wall();
    wall.#tcp = createServer((stream) => {
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

  async end() {
    this.#udp.close();
    for (const stream of this.#streams) stream.destroy();
    this.#tcp.close();
    await once(this.#tcp, "close");
  }
}
