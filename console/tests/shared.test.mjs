// What @sterna/client/worker promises, in real browsers: tabs of one origin have one connection, each reads
// everything and in order, and none of them matters to the others: not the one that gives tokens, not one
// that dies, nor a network that is gone for a while.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { Browser } from "./browser.mjs";
import { bundle, follow, isIn, until, Wall } from "./client.mjs";
import { Firefox } from "./firefox.mjs";
import { DevNode } from "./node.mjs";

const node = new DevNode();
let origin;
let server;

before(async () => {
  await node.start();
  const files = {
    "/": ["text/html", "<!doctype html><title>tabs</title><script src=page.js></script>"],
    "/page.js": ["text/javascript", await bundle("worker")],
    "/worker.js": ["text/javascript", await bundle("shared-worker")],
  };
  server = createServer(({ url }, response) => {
    const [type, text] = files[url] ?? [];
    response.writeHead(type ? 200 : 404, { "content-type": type ?? "text/plain" }).end(text);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  origin = `http://localhost:${server.address().port}/`;
});

after(async () => {
  server?.close();
  await node.end();
});

const BROWSERS = {
  Chromium: () => Browser.launch(["--ignore-certificate-errors"]),
  Firefox: () => Firefox.launch(),
};

/** Connects in a page. `holds`: its token provider never answers. */
async function share(page, { port, holds = false, transports, subject = "alice" } = {}) {
  const place = await (await fetch(`${node.origin}/try/node.json`)).json();
  const hash = [...Buffer.from(place.certificateHash, "base64")];
  const setup = { token: place.tokens.alice, port: port ?? place.port, holds, transports, subject };
  await page.evaluate(
    ({ token, port, holds, transports, subject, hash }) => {
      Object.assign(window, { asked: 0, states: [] });
      window.client = sterna.shareClient(`sterna://127.0.0.1:${port}`, {
        worker: () => new SharedWorker("/worker.js", { name: `sterna-${port}` }),
        subject,
        token: () => {
          window.asked++;
          return holds ? new Promise(() => {}) : token;
        },
        certificateHashes: [Uint8Array.from(hash)],
        ...(transports && { transports }),
      });
      window.client.on("state", (state) => {
        const { name, transport, sessionId, error, lastError } = state;
        window.states.push({ name, transport, sessionId, code: (error ?? lastError)?.code });
      });
      window.client.connect();
    },
    { ...setup, hash },
  );
}

const connected = (page) => isIn(page, "connected");
const last = (page) => page.evaluate(() => window.states.at(-1));
const seen = (page) => page.evaluate(() => window.read);
const reads = (page, count) => until(page, (count) => window.read.length >= count, count);
const lines = (count, from = 1) =>
  Array.from({ length: count - from + 1 }, (_, at) => `line ${at + from}`);
const numbered = (lines) => lines.map((line, at) => [at + 1, line]);

async function connections() {
  const text = await (await fetch(`${node.origin}/metrics`)).text();
  const found = [...text.matchAll(/^sterna_edge_connections_active\{.*\} (\d+)$/gm)];
  return found.reduce((sum, [, value]) => sum + Number(value), 0);
}

async function becomes(count) {
  const late = Date.now() + 60_000;
  while ((await connections()) !== count) {
    if (Date.now() > late) throw new Error(`never ${count} connections`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

for (const [name, launch] of Object.entries(BROWSERS)) {
  describe(`tabs of ${name}`, () => {
    let browser;
    before(async () => {
      browser = await launch();
    });
    after(() => browser?.close());

    for (const transport of ["webtransport", "websocket"]) {
      test(`i13 two tabs read 1,000 publications over one ${transport}`, async () => {
        await becomes(0);
        const channel = `${name}:tabs-${transport}`;
        const { pages, close } = await browser.tabs(origin, 2);
        for (const page of pages) await share(page, { transports: [transport] });
        for (const page of pages) await connected(page);
        for (const page of pages) await follow(page, channel);
        await node.cli(["pub", channel, "--stdin"], lines(1000).join("\n"));
        for (const page of pages) await reads(page, 1000);
        for (const page of pages) assert.deepEqual(await seen(page), numbered(lines(1000)));
        const [one, other] = await Promise.all(pages.map(last));
        assert.equal(one.transport, transport);
        assert.equal(one.sessionId, other.sessionId);
        assert.equal(await connections(), 1);
        await close();
        await becomes(0);
      });
    }

    test("the tab that is asked for a token is closed, and the other one gives it", async () => {
      const { pages, close } = await browser.tabs(origin, 2);
      const [first, second] = pages;
      await share(first, { holds: true });
      await until(first, () => window.asked === 1);
      await share(second);
      await first.close();
      await connected(second);
      assert.equal(await second.evaluate(() => window.asked), 1);
      await close();
    });

    test("i13 the network is cut for a while: every tab goes on where it was", async () => {
      const { port } = await (await fetch(`${node.origin}/try/node.json`)).json();
      const wall = await Wall.before(port);
      const channel = `${name}:tabs-cut`;
      const { pages, close } = await browser.tabs(origin, 2);
      try {
        for (const page of pages) await share(page, { port: wall.port, transports: ["websocket"] });
        for (const page of pages) await connected(page);
        for (const page of pages) await follow(page, channel);
        await node.cli(["pub", channel, "--stdin"], lines(20).join("\n"));
        for (const page of pages) await reads(page, 20);
        wall.cut();
        for (const page of pages) await isIn(page, "connecting");
        await pages[0].evaluate((channel) => {
          window.send = window.client.publish(channel, "line 41");
        }, channel);
        await node.cli(["pub", channel, "--stdin"], lines(40, 21).join("\n"));
        wall.mend();
        for (const page of pages) await reads(page, 41);
        for (const page of pages) assert.deepEqual(await seen(page), numbered(lines(41)));
      } finally {
        await close();
        await wall.end();
      }
    });

    test("a tab that is gone leaves its channels, and the others go on", async () => {
      await becomes(0);
      const channel = `${name}:tabs-gone`;
      const { pages, close } = await browser.tabs(origin, 3);
      const [first, second, third] = pages;
      for (const page of pages) await share(page);
      for (const page of pages) await connected(page);
      for (const page of pages) await follow(page, channel);
      await node.cli(["pub", channel, "--stdin"], lines(10).join("\n"));
      for (const page of pages) await reads(page, 10);
      await first.close();
      // Whoever navigates away is gone, too.
      await second.goto("about:blank");
      await node.cli(["pub", channel, "--stdin"], lines(20, 11).join("\n"));
      await reads(third, 20);
      assert.deepEqual(await seen(third), numbered(lines(20)));
      assert.equal((await third.evaluate(() => window.states)).filter(isConnected).length, 1);
      await third.close();
      await becomes(0);
      await close();
    });

    if (name === "Chromium") {
      test("i13 a tab that is killed, with the worker perhaps, costs the other nothing", async () => {
        const channel = "room:tabs-killed";
        const { pages, close } = await browser.tabs(origin, 2);
        for (const page of pages) await share(page);
        for (const page of pages) await connected(page);
        for (const page of pages) await follow(page, channel);
        await node.cli(["pub", channel, "--stdin"], lines(10).join("\n"));
        for (const page of pages) await reads(page, 10);
        const [killed, other] = pages;
        const crashed = once(killed, "crash");
        const devtools = await killed.context().newCDPSession(killed);
        await other.evaluate(
          ({ channel, lines }) => {
            window.sends = lines.map((line) => window.client.publish(channel, line));
          },
          { channel, lines: lines(210, 11) },
        );
        devtools.send("Page.crash").catch(() => {});
        await crashed;
        await other.evaluate(async () => void (await Promise.all(window.sends)));
        await reads(other, 210);
        assert.deepEqual(await seen(other), numbered(lines(210)));
        await close();
      });
    }
  });
}

const isConnected = ({ name }) => name === "connected";
