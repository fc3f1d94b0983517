// The console's screens in a real browser, before a node that answers as a cluster would: each route,
// each role, each width, by keyboard, and with what is missing or hostile.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { cluster, inspection, session, theChannel } from "./answers.mjs";
import { Browser } from "./browser.mjs";
import { Fake, KEYS, refusal } from "./fake.mjs";

const fake = new Fake();
let browser;

before(async () => {
  await fake.start();
  browser = await Browser.launch();
});

afterEach(() => {
  fake.answers.clear();
  fake.orders.length = 0;
});

after(async () => {
  await browser?.close();
  await fake.end();
});

const ROUTES = {
  "#/overview": "Overview",
  "#/top": "Top",
  "#/session": "Sessions",
  "#/session/user%3Aalice": "Sessions of alice",
  "#/session/5e551007aabb": "Session 5e551007aabb",
  "#/channel": "Channels",
  "#/channel/room%3A1": "room:1",
  "#/trace": "Trace",
  "#/trace/7ace": "Trace",
  "#/nodes": "Nodes",
};

async function open(route, options = {}) {
  const opened = await browser.open(`${fake.origin}/console/${route}`, {
    key: KEYS.operator,
    ...options,
  });
  return opened;
}

const isAt = (page, title) =>
  page.getByRole("heading", { level: 1, name: title, exact: true }).waitFor();

for (const colorScheme of ["light", "dark"]) {
  for (const width of [360, 1280]) {
    test(`every route, ${colorScheme}, ${width} pixels wide: nothing hangs over`, async () => {
      const { page, trouble } = await open("", { viewport: { width, height: 740 }, colorScheme });
      for (const [route, title] of Object.entries(ROUTES)) {
        await page.evaluate((hash) => {
          location.hash = hash;
        }, route);
        await isAt(page, title);
        await page.getByText("as c1 sees it").waitFor();
        await page.locator(".panel, form.ask").first().waitFor();
        const { over, paper } = await page.evaluate(() => ({
          over: document.documentElement.scrollWidth - innerWidth,
          paper: getComputedStyle(document.documentElement).backgroundColor,
        }));
        assert.ok(over <= 0, `${route} hangs over by ${over} pixels`);
        assert.equal(paper, colorScheme === "dark" ? "rgb(15, 21, 27)" : "rgb(245, 247, 249)");
      }
      assert.deepEqual(trouble, []);
      await page.close();
    });
  }
}

test("the figures of the cluster, its past, and what needs somebody", async () => {
  const { page } = await open("#/overview");
  await page.getByText("▲ 2 sessions of e3 cannot keep up.").waitFor();
  await page.getByText("▲ e4 is leaving.").waitFor();
  await page.getByText("7 nodes · 52.5k sessions").waitFor();
  // Of all nodes together, and nothing of where nobody looks.
  const found =
    "Found in edge rings 90% of 4,018 · owner rings 75% of 4,803 · pages in Redis 75% of 120";
  await page.getByText(found, { exact: true }).waitFor();
  // From the first answer on: 15 minutes, with a hole where a node was not heard of.
  const line = page.locator(".chart").first().locator("path.line0");
  await line.waitFor();
  assert.ok((await line.getAttribute("d")).split("L").length > 150);
  await page.close();
});

test("what nodes told is added up moment for moment, and totals become rates", async () => {
  const sessions = (wss) => ({
    quic: [0, 0, 0],
    webtransport: [0, 0, 0],
    wss,
    detached: [],
    behind: [],
  });
  const nodes = [
    // The last total is that of a new process.
    { name: "a", sessions: sessions([4, 5, 6]), append_p99_ms: [1, 9, 2], resumes: [10, 12, 1] },
    {
      name: "b",
      sessions: sessions([1, null, 3]),
      append_p99_ms: [2, null, 7],
      resumes: [5, null, 6],
    },
  ];
  const said = { node: "a", unix_ms: Date.now(), every_ms: 5000, nodes };
  fake.set("operate/samples", 200, { result: said });
  const { page } = await open("#/overview");
  const told = (name) => page.getByRole("slider", { name }).getAttribute("aria-valuetext");
  await page.locator("path.line2").first().waitFor();
  const moment = async () => [
    await told("Sessions"),
    await told("Append, p99"),
    await told("Paths"),
  ];
  const present = (await moment()).map((text) => text.replace("now: ", ""));
  assert.match(present[0], /WebSocket 9/);
  assert.match(present[1], /Append 7 ms/);
  assert.match(present[2], /resumes 12 \/min/);
  await page.getByRole("slider", { name: "Sessions" }).focus();
  await page.keyboard.press("ArrowLeft");
  const before = await moment();
  assert.match(before[0], /, 5 s ago: .*WebSocket 5/);
  assert.match(before[1], /Append 9 ms/);
  assert.match(before[2], /resumes 24 \/min/);
  await page.close();
});

test("a chart is read by pointer and by keyboard, and the others follow", async () => {
  const { page } = await open("#/overview");
  const charts = page.getByRole("slider");
  const when = page.locator(".chart .when");
  await page.locator("path.line0").first().waitFor();
  await charts.nth(1).focus();
  await page.keyboard.press("Home");
  await when
    .nth(3)
    .getByText(/, 14 min 55 s ago/)
    .waitFor();
  assert.match(await charts.nth(1).getAttribute("aria-valuetext"), /14 min 55 s ago: Publications/);
  await page.keyboard.press("ArrowRight");
  await when
    .nth(0)
    .getByText(/, 14 min 50 s ago/)
    .waitFor();
  await page.keyboard.press("Escape");
  await when.nth(0).getByText("now").waitFor();
  await charts.nth(0).hover({ position: { x: 5, y: 40 } });
  await when
    .nth(5)
    .getByText(/14 min .* ago/)
    .waitFor();
  await page.close();
});

test("the way of a session is told as people say it", async () => {
  const { page } = await open("#/session/5e551007aabb");
  await page.getByText("Wi-Fi → cellular, 84 ms, 0 lost").waitFor();
  await page.getByText("cellular → Wi-Fi, 4.1 s, 3 lost").waitFor();
  await page.getByText("31 of 256 frames").waitFor();
  await page.getByRole("row").filter({ hasText: "behind, full" }).getByText("1,008").waitFor();
  await page.getByRole("link", { name: "room:7" }).click();
  await isAt(page, "room:7");
  await page.locator(".tree").getByText("312 sessions").waitFor();
  await page.getByRole("button", { name: "Show" }).click();
  await page.getByRole("row").filter({ hasText: "owner" }).getByText("alice").waitFor();
  await page.close();
});

test("a session of which the node knows little shows what is known", async () => {
  const { paths: _, rtt_ms: __, opened_unix_ms: ___, ...known } = session("5e55");
  const moved = { unix_ms: Date.now(), from: "10.0.0.1:5", to: "10.0.0.2:6", kind: "path_changed" };
  fake.set("operate/session", 200, { result: { ...known, attached: false, paths: [] } });
  const { page } = await open("#/session/5e55");
  await page.getByText("It has not moved since it connected").waitFor();
  await page.getByText("▲ detached").waitFor();
  assert.equal(await page.getByText("Round trip").count(), 0);
  fake.set("operate/session", 200, { result: { ...known, paths: [{ ...moved, gap_ms: 90 }] } });
  await page.getByText("10.0.0.1:5 → 10.0.0.2:6, 90 ms").waitFor();
  await page.getByText("It has not moved since it connected").waitFor({ state: "hidden" });
  await page.close();
});

test("a session and a channel that are elsewhere say so", async () => {
  fake.set("operate/session", 404, refusal("UNKNOWN_CHANNEL", "no such session on this node"));
  const { page } = await open("#/session/5e55");
  await page.getByText("No such session on this node.").waitFor();
  fake.set("operate/channel", 409, refusal("CONFLICT", "node c3 knows more of this channel"));
  await page.goto(`${fake.origin}/console/#/channel/room%3A1`);
  await page.getByText("Node c3 knows more of this channel.").waitFor();
  assert.equal(await page.getByRole("region", { name: "Fan-out" }).count(), 0);
  await page.close();
});

test("a trace is armed, waited for, and shown step by step", async () => {
  fake.set("operate/trace", 200, undefined);
  const said = { trace: "7ace", channel: "room:1", state: "waiting", position: null, steps: [] };
  fake.answers.get("operate/trace").body = () => ({ status: 200, body: { result: said } });
  const { page } = await open("#/trace/of%3Aroom%3A1", { key: KEYS.observer });
  await page.getByRole("button", { name: "Wait for the next publication" }).click();
  await page.getByRole("heading", { name: "Waiting for a publication" }).waitFor();
  assert.deepEqual(fake.orders, [{ path: "operate/trace", body: { channel: "room:1" } }]);
  fake.answers.clear();
  await page.getByText("given to sessions (208)").waitFor();
  await page.locator(".facts").getByText("48.1 ms").waitFor();
  await page.close();
});

test("keys alone lead through all screens", async () => {
  const { page } = await open("#/overview");
  await isAt(page, "Overview");
  for (const [key, title] of [
    ["t", "Top"],
    ["s", "Sessions"],
    ["c", "Channels"],
    ["r", "Trace"],
    ["n", "Nodes"],
    ["o", "Overview"],
  ]) {
    await page.keyboard.press("g");
    await page.keyboard.press(key);
    await isAt(page, title);
  }
  await page.keyboard.press("g");
  await page.keyboard.press("c");
  await isAt(page, "Channels");
  await page.keyboard.press("/");
  await page.keyboard.type("room:9");
  await page.keyboard.press("Enter");
  await isAt(page, "room:9");
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  // The order of Tab begins with the way past the navigation.
  await page.reload();
  await isAt(page, "room:9");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "H1");
  await page.close();
});

test("an observer sees no button that changes anything, an operator does", async () => {
  for (const [role, count] of [
    ["observer", 0],
    ["operator", 1],
  ]) {
    const { page } = await open("#/nodes", { key: KEYS[role] });
    await page.locator(".who").getByText(role).waitFor();
    await page.getByText("683 of 2,048").waitFor();
    assert.equal(await page.getByRole("button", { name: "Drain…" }).count(), count, role);
    await page.evaluate(() => {
      location.hash = "#/session/5e55";
    });
    await page.getByText("Wi-Fi → cellular").waitFor();
    assert.equal(await page.getByRole("button", { name: /Revoke/ }).count(), count, role);
    await page.evaluate(() => {
      location.hash = "#/channel/room%3A1";
    });
    await page.locator(".tree").getByText("312 sessions").waitFor();
    assert.equal(await page.getByRole("button", { name: "Show" }).count(), count, role);
    await page.close();
  }
});

test("a key is asked for, refused with its reason, and never stands in the address", async () => {
  const { page, trouble } = await browser.open(`${fake.origin}/console/#/nodes`);
  const field = page.getByLabel("API key");
  const attempt = async (key) => {
    await field.fill(key);
    await page.keyboard.press("Enter");
  };
  await attempt("wrong");
  await page.getByRole("alert").filter({ hasText: "401" }).waitFor();
  await attempt(KEYS.user);
  await page.getByRole("alert").filter({ hasText: "403" }).waitFor();
  await page.getByText('role = "observer"').waitFor();
  await attempt(KEYS.observer);
  await isAt(page, "Nodes");
  assert.equal(page.url(), `${fake.origin}/console/#/nodes`);
  assert.equal(await page.evaluate(() => localStorage.length), 0);
  await page.reload();
  await isAt(page, "Nodes");
  fake.set("operate/drain", 401, refusal("UNAUTHORIZED", "no such key any more"));
  await page.getByRole("alert").filter({ hasText: "401" }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.deepEqual(trouble, []);
  await page.close();
});

test("a node of another release: what it does not tell is said, and the rest lives", async () => {
  for (const path of ["samples", "session", "channel", "trace"]) fake.forget(`operate/${path}`);
  fake.set("operate/cluster", 200, { result: { nodes: [{ name: "old", state: "serving" }] } });
  const { page, trouble } = await open("#/overview");
  await page.getByText("This node keeps no past").waitFor();
  await page.getByRole("row").filter({ hasText: "old" }).waitFor();
  for (const route of ["#/session/5e55", "#/channel/room%3A1", "#/trace/7ace"]) {
    await page.evaluate((hash) => {
      location.hash = hash;
    }, route);
    await page.getByText("This node is of a release that does not tell this.").waitFor();
  }
  await page.evaluate(() => {
    location.hash = "#/channel/room%3A1";
  });
  await page.getByRole("button", { name: "Show" }).click();
  await page.getByRole("row").filter({ hasText: "owner" }).waitFor();
  assert.deepEqual(trouble, []);
  await page.close();
});

test("hostile names are text on every screen", async () => {
  const bad = '<img src=x onerror="document.title=1"><script>document.title=1</script>';
  const spoilt = (said) =>
    JSON.parse(JSON.stringify(said), (_, value) => (typeof value === "string" ? bad : value));
  const spoil = (path, said) => fake.set(path, 200, { result: spoilt(said) });
  spoil("operate/cluster", cluster());
  spoil("operate/node", inspection());
  spoil("operate/session", session("5e55"));
  spoil("operate/channel", theChannel("room:1"));
  spoil("sessions", { sessions: [{ session: "s", edge: "e" }] });
  spoil("members", { members: [{ user: "u", role: "r" }] });
  spoil("operate/drain", { draining: true, successor: "s" });
  const { page, trouble } = await open("");
  for (const route of Object.keys(ROUTES)) {
    await page.evaluate((hash) => {
      location.hash = hash;
    }, route);
    await page.locator(".panel, form.ask").first().waitFor();
    if (route !== "#/channel" && !route.startsWith("#/trace")) {
      await page.locator("main").getByText("<script>").first().waitFor();
    }
    assert.equal(await page.locator("img, body script").count(), 0, route);
  }
  assert.deepEqual(trouble, []);
  await page.close();
});

test("a drain is ordered by name and watched", async () => {
  const { page } = await open("#/nodes");
  await page.getByRole("button", { name: "Drain…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Deadline in seconds").fill("30");
  await dialog.getByLabel("Type c1 to confirm").fill("c1");
  fake.set("operate/drain", 200, {
    result: {
      draining: true,
      left_ms: 21_000,
      successor: "",
      sessions: 12,
      connections: 14,
      slots: 300,
    },
  });
  await page.keyboard.press("Enter");
  await page.getByText("in 21 s").waitFor();
  assert.deepEqual(fake.orders, [{ path: "drain", body: { deadline_ms: 30_000 } }]);
  assert.ok(await page.getByRole("button", { name: "Drain…" }).isDisabled());
  await page.close();
});
