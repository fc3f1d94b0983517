// What @sterna/client promises, in real browsers: everything and in order over each transport, through a
// freezing of its tab, past a network without UDP, and an end instead of a storm when its token is bad.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Browser } from "./browser.mjs";
import { bundle, follow, HttpProxy, isIn, online, states, until, Wall } from "./client.mjs";
import { Firefox } from "./firefox.mjs";
import { DevNode } from "./node.mjs";

const node = new DevNode();
let script;

before(async () => {
  script = await bundle();
  await node.start();
});

after(() => node.end());

// The WebSocket is let through with a certificate of an authority that the browser does not know.
const BROWSERS = {
  Chromium: () => Browser.launch(["--ignore-certificate-errors"]),
  Firefox: () => Firefox.launch(),
};

/** What the page has to have read: the lines in their order, from offset 1, each once. */
const numbered = (lines) => lines.map((line, at) => [at + 1, line]);

const refusals = {
  "is none": async () => ["nonsense", "UNAUTHORIZED"],
  "is of somebody else": async () => {
    const token = await node.cli(["token", "--user", "alice"]);
    const [head, body, signature] = token.trim().split(".");
    return [`${head}.${body}.${[...signature].reverse().join("")}`, "UNAUTHORIZED"];
  },
};

for (const [name, launch] of Object.entries(BROWSERS)) {
  describe(name, () => {
    let browser;
    before(async () => {
      browser = await launch();
    });
    after(() => browser?.close());
    const open = (options) => online(browser, node, script, options);

    for (const transport of ["webtransport", "websocket", "http"]) {
      test(`i13 10,000 publications reach a page over ${transport}, complete and in order`, async () => {
        const channel = `${name}:many-${transport}`;
        const { page, trouble } = await open({ transports: [transport] });
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

    test("without UDP a page is connected by WebSocket", async () => {
      const { port } = await (await fetch(`${node.origin}/try/node.json`)).json();
      const wall = await Wall.before(port);
      try {
        const { page } = await open({ port: wall.port });
        await isIn(page, "connected");
        assert.equal((await states(page)).at(-1).transport, "websocket");
        await follow(page, `${name}:wall`);
        await page.evaluate((room) => window.client.publish(room, "through"), `${name}:wall`);
        await until(page, () => window.read.length === 1);
        assert.ok(wall.packets > 0, "UDP was tried");
        await page.close();
      } finally {
        await wall.end();
      }
    });

    test("i13 behind a proxy that blocks WebSockets a page speaks HTTP, and misses nothing when that breaks", async () => {
      const { port } = await (await fetch(`${node.origin}/try/node.json`)).json();
      const proxy = await HttpProxy.before(port, node.identity());
      const channel = `${name}:proxy`;
      try {
        const transports = ["webtransport", "websocket", "http"];
        const { page } = await open({ port: proxy.port, transports });
        await isIn(page, "connected");
        assert.equal((await states(page)).at(-1).transport, "http");
        assert.ok(proxy.upgrades > 0, "a WebSocket was tried");
        await follow(page, channel);
        const lines = Array.from({ length: 300 }, (_, at) => `line ${at + 1}`);
        const halves = [lines.slice(0, 150), lines.slice(150)];
        await node.cli(["pub", channel, "--stdin"], halves[0].join("\n"));
        proxy.cut();
        await node.cli(["pub", channel, "--stdin"], halves[1].join("\n"));
        await until(page, (count) => window.read.length >= count, lines.length);
        await page.evaluate((room) => window.client.publish(room, "through"), channel);
        await until(page, (count) => window.read.length > count, lines.length);
        assert.deepEqual(await page.evaluate(() => window.read), numbered([...lines, "through"]));
        assert.equal((await states(page)).at(-1).transport, "http");
        await page.close();
      } finally {
        await proxy.end();
      }
    });

    for (const [what, make] of Object.entries(refusals)) {
      test(`a token that ${what} ends what it begins`, async () => {
        const [token, code] = await make();
        const { page } = await open({ token });
        await isIn(page, "disconnected");
        const seen = await states(page);
        assert.equal(seen.at(-1).code, code);
        // A browser may lose the reason with the connection: then the next attempt ends it.
        const attempts = seen.filter(({ name }) => name === "connecting").length;
        assert.ok(attempts <= 2, `no storm: ${attempts}`);
        await page.close();
      });
    }

    test("i11 whose token is revoked is disconnected, told why, and stays away", async () => {
      const token = (await node.cli(["token", "--user", "mallory"])).trim();
      const { page } = await open({ token });
      await isIn(page, "connected");
      await node.cli(["revoke", "mallory"]);
      await isIn(page, "disconnected");
      const seen = await states(page);
      assert.equal(seen.at(-1).code, "UNAUTHORIZED", JSON.stringify(seen));
      assert.equal(
        seen.filter(({ name }) => name === "connected").length,
        1,
        "it did not come again",
      );
      await page.close();
    });

    if (name === "Chromium") {
      // A browser without a screen keeps every page visible and freezes none: the debugger stops its scripts, and
      // where a browser would have told the page before, it is told.
      for (const isTold of [true, false]) {
        const how = isTold ? "was told" : "was not told, as when a machine sleeps";
        test(`i13 a tab that is frozen and ${how} misses nothing`, async () => {
          const channel = `room:frozen-${isTold}`;
          const { page } = await open();
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
    }
  });
}
