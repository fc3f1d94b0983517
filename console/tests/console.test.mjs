// The console in a real browser, with a real node of development behind it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser, PATIENCE } from "./browser.mjs";
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

const at = (route = "") => `${node.origin}/console/${route}`;

/** A session of the try-it page: two, one for each of its people. */
async function withPeople(channel) {
  const { page } = await browser.open(`${node.origin}/try/?transports=websocket#${channel}`);
  await page.locator(".pane[data-state=connected]").nth(1).waitFor();
  return page;
}

test("whoever opens it on the machine of a dev node is in, and sees what goes through", async () => {
  const people = await withPeople("room:console");
  const { page, trouble } = await browser.open(at());
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  await page.getByText("as dev sees it").waitFor();
  await page.getByText("All is well.").waitFor();
  const sessions = page.getByRole("slider", { name: "Sessions" });
  await page.waitForFunction(
    () => document.querySelector(".chart strong")?.textContent === "2",
    undefined,
    { timeout: PATIENCE },
  );
  assert.match(await sessions.getAttribute("aria-valuetext"), /^now: .*WebSocket 2/);
  const row = page.getByRole("row").filter({ hasText: "dev" });
  await row.filter({ hasText: "serving" }).waitFor();
  assert.deepEqual(trouble, []);
  await page.close();
  await people.close();
});

test("what is busy leads to its session, and its user and channel to theirs", async () => {
  const people = await withPeople("room:busy");
  const box = people.locator(".pane[aria-label=alice]").getByRole("textbox");
  await box.fill("Hello");
  await box.press("Enter");
  const { page, trouble } = await browser.open(at("#/top"));
  await page
    .getByRole("table", { name: "Channels" })
    .getByRole("link", { name: "room:busy" })
    .click();
  await page.getByRole("heading", { level: 1, name: "room:busy" }).waitFor();
  await page.goto(at("#/top"));
  await page.getByRole("table", { name: "Sessions" }).getByRole("link", { name: "alice" }).click();
  await page.getByRole("heading", { level: 1, name: "Sessions of alice" }).waitFor();
  await page.getByRole("table", { name: "Sessions" }).getByText("WebSocket").first().waitFor();
  assert.deepEqual(trouble, []);
  await page.close();
  await people.close();
});

test("what stands in an address is text", async () => {
  const hostile = '<img src=x onerror="document.title=1">';
  const { page, trouble } = await browser.open(at(`#/channel/${encodeURIComponent(hostile)}`));
  await page.getByRole("heading", { level: 1, name: hostile }).waitFor();
  await page.goto(at(`#/session/${encodeURIComponent(`user:${hostile}`)}`));
  await page.getByRole("heading", { level: 1, name: hostile }).waitFor();
  assert.equal(await page.locator("img").count(), 0);
  assert.deepEqual(trouble, []);
  await page.close();
});

test("the node is killed and comes back while the page is open", async () => {
  const { page, trouble } = await browser.open(at());
  await page.getByText("All is well.").waitFor();
  await node.kill();
  await page.getByRole("alert").filter({ hasText: "has not answered for" }).waitFor();
  await page.waitForFunction(() => document.title.startsWith("✕"));
  await page.getByText("Not known now.").waitFor();
  // Nobody answers that either.
  await page.getByRole("button", { name: "Try now" }).click();
  await node.start();
  await page.getByRole("alert").waitFor({ state: "hidden" });
  await page.getByText("All is well.").waitFor();
  assert.deepEqual(trouble, []);
  await page.close();
});

test("the node is drained by name, says how far it is, and has left", async () => {
  const { page } = await browser.open(at("#/nodes"));
  await page.getByRole("button", { name: "Drain…" }).click();
  const dialog = page.getByRole("dialog");
  const drain = dialog.getByRole("button", { name: "Drain", exact: true });
  const name = dialog.getByLabel("Type dev to confirm");
  await name.fill("de");
  assert.ok(await drain.isDisabled());
  await name.fill("dev");
  await drain.click();
  await page.getByText("it has left").waitFor();
  await node.ended();
  await node.start();
  await page.close();
});

test("one publication is followed through the node, and its channel is told", async () => {
  const people = await withPeople("room:traced");
  const box = people.locator(".pane[aria-label=alice]").getByRole("textbox");
  const { page, trouble } = await browser.open(at("#/trace/of%3Aroom%3Atraced"));
  await page.getByRole("button", { name: "Wait for the next publication" }).click();
  await page.getByRole("heading", { name: "Waiting for a publication" }).waitFor();
  await box.fill("Hello");
  await box.press("Enter");
  const steps = page.locator(".timeline li");
  await steps.filter({ hasText: "acknowledged" }).waitFor();
  await steps.filter({ hasText: "given to sessions" }).first().waitFor();
  await page.getByRole("link", { name: "room:traced" }).click();
  await page.locator(".tree").getByText("2 sessions").waitFor();
  await page.getByText("2 users").waitFor();
  assert.deepEqual(trouble, []);
  await page.close();
  await people.close();
});
