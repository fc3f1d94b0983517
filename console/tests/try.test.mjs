// The try-it page in a real browser, with a real node behind it, over each transport.
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { Browser } from "./browser.mjs";
import { DevNode } from "./node.mjs";

const node = new DevNode();
let browser;

before(async () => {
  await node.start();
  browser = await Browser.launch();
});

after(async () => {
  await browser?.close();
  await node.end();
});

/** A page with alice and bob, both connected. */
async function open(channel, transports) {
  const address = `${node.origin}/try/?transports=${transports}#${channel}`;
  const { page, trouble } = await browser.open(address);
  const [alice, bob] = ["alice", "bob"].map((user) => new Person(page, user));
  for (const person of [alice, bob]) await person.is("connected");
  return { page, alice, bob, trouble };
}

class Person {
  constructor(page, user) {
    this.pane = page.locator(`.pane[aria-label=${user}]`);
    this.page = page;
  }

  is(state) {
    return this.pane.and(this.page.locator(`[data-state=${state}]`)).waitFor();
  }

  async says(text) {
    await this.pane.getByRole("textbox").fill(text);
    await this.pane.getByRole("button", { name: "Send" }).click();
  }

  /** Waits for a message to have this state: ✓ stored, ✓✓ read, ○ waiting. */
  async sees(text, sign) {
    const item = this.pane.locator("li").filter({ hasText: text });
    await (sign ? item.filter({ hasText: sign }) : item).first().waitFor();
  }

  texts() {
    return this.pane.locator("li p").allTextContents();
  }

  network(isUp) {
    return this.pane.getByRole("switch").setChecked(isUp);
  }

  live(name) {
    return this.pane.locator(".live div").filter({ hasText: name }).locator("dd").textContent();
  }
}

for (const [transport, shown] of Object.entries({
  webtransport: "WebTransport",
  websocket: "WebSocket",
  http: "HTTP",
})) {
  describe(shown, () => {
    test("two people talk, see each other, and what has been read", async () => {
      const { page, alice, bob, trouble } = await open(`room:talk-${transport}`, transport);
      await alice.says("Hello Bob");
      await bob.sees("Hello Bob");
      await alice.sees("Hello Bob", "✓✓");
      for (const person of [alice, bob]) await person.pane.getByText("here: alice, bob").waitFor();
      await bob.pane.getByRole("textbox").pressSequentially("Hel");
      await alice.pane.getByText("bob writes…").waitFor();
      assert.equal(await alice.live("connection"), shown);
      assert.deepEqual(trouble, []);
      await page.close();
    });

    test("a network is taken away and given back, and everything arrives once and in order", async () => {
      const { page, alice, bob } = await open(`room:cut-${transport}`, transport);
      await alice.says("before");
      await bob.sees("before");
      await alice.network(false);
      await alice.is("connecting");
      await alice.says("out of a tunnel");
      await alice.sees("out of a tunnel", "○");
      for (const text of ["one", "two", "three"]) await bob.says(text);
      await bob.sees("three", "✓");
      await alice.network(true);
      await alice.sees("out of a tunnel", "✓");
      await bob.sees("out of a tunnel");
      const expected = ["before", "one", "two", "three", "out of a tunnel"];
      for (const person of [alice, bob]) assert.deepEqual(await person.texts(), expected);
      assert.equal(await alice.live("resumed"), "1");
      await page.close();
    });

    test("the node is killed in the middle, and the page goes on", async () => {
      const { page, alice, bob } = await open(`room:kill-${transport}`, transport);
      await alice.says("before");
      await bob.sees("before");
      await node.kill();
      await alice.is("connecting");
      await alice.says("while it is down");
      await node.start();
      await bob.sees("while it is down");
      await alice.sees("while it is down", "✓");
      for (const person of [alice, bob]) {
        assert.deepEqual(await person.texts(), ["before", "while it is down"]);
      }
      await page.close();
    });
  });
}

test("what somebody writes is text, whatever it looks like", async () => {
  const { page, alice, bob, trouble } = await open("room:hostile", "websocket");
  const hostile = '<img src=x onerror="document.title=1"><script>document.title=1</script>';
  await alice.says(hostile);
  await bob.sees(hostile);
  for (const person of [alice, bob]) {
    assert.deepEqual(await person.texts(), [hostile]);
    assert.equal(await person.pane.locator("li img, li script").count(), 0);
  }
  assert.equal(await page.title(), "Try Sterna");
  assert.deepEqual(trouble, []);
  await page.close();
});

/** Status of a request to the page's node with these headers. */
function status(path, headers) {
  return new Promise((resolve, reject) => {
    const asked = request({ port: node.httpPort, path, headers, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    asked.on("upgrade", (_, socket) => {
      socket.destroy();
      resolve(101);
    });
    asked.on("error", reject);
    asked.end();
  });
}

test("the tokens of the page are for this machine alone", async () => {
  assert.equal(await status("/try/node.json", { Host: `localhost:${node.httpPort}` }), 200);
  assert.equal(await status("/try/node.json", { Host: "rebound.example" }), 403);
  const handshake = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "sterna.v1.json",
    Host: `localhost:${node.httpPort}`,
  };
  assert.equal(await status("/v1/connect", { ...handshake, Origin: node.origin }), 101);
  const foreign = { ...handshake, Origin: "https://elsewhere.example" };
  assert.equal(await status("/v1/connect", foreign), 403);
});
