// From the navigation to the first publication in Chromium, over each transport: a page of one script, a
// node on this machine (STERNA_BIN names it), a browser without a cache or a connection that it knows.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { browse, bundled, HTML, median, open } from "./browser.mjs";

const VISITS = 25;

const binary = process.env.STERNA_BIN;
if (!binary) throw new Error("STERNA_BIN has to name the node's binary");
const home = mkdtempSync(join(tmpdir(), "sterna-first-"));
const flags = ["--data-dir", home];
const node = spawn(binary, ["dev", ...flags, "--client-port", "0", "--http-port", "0"]);
let said = "";
for await (const chunk of node.stdout.iterator({ destroyOnReturn: false })) {
  said += chunk;
  if (said.includes(" pub room:1 ")) break;
}
node.stdout.resume();
const publishing = spawn(binary, ["pub", ...flags, "room:first", "hello"]);
await once(publishing, "exit");
const { http } = JSON.parse(readFileSync(join(home, "dev.json"), "utf8"));
const place = await (
  await fetch(`http://localhost:${http.split(":").at(-1)}/try/node.json`)
).json();

const script = await bundled("first-message-page.ts");
const files = {};
for (const transport of ["websocket", "webtransport"]) {
  const hash = [...Buffer.from(place.certificateHash, "base64")];
  const values = { port: place.port, token: place.tokens.alice, hash, transport };
  files[`/${transport}`] = ["text/html", HTML(`/${transport}.js`)];
  const source = `const PLACE = ${JSON.stringify(values)};${script}`;
  files[`/${transport}.js`] = ["text/javascript", source];
}
const times = { websocket: [], webtransport: [] };
await browse(files, async (browser, origin) => {
  for (let visit = 0; visit < VISITS; visit++) {
    for (const [transport, all] of Object.entries(times)) {
      const page = await open(browser, `${origin}/${transport}`);
      await page.waitForFunction(() => window.first);
      const [first, load] = await page.evaluate(() => [
        window.first,
        performance.getEntriesByType("navigation")[0].loadEventEnd,
      ]);
      all.push({ first, load });
      await page.close();
    }
  }
});
node.kill("SIGTERM");
await once(node, "exit");
rmSync(home, { recursive: true, force: true });

const rows = Object.entries(times).map(([transport, all]) => ({
  transport,
  firstMs: Math.round(median(all.map(({ first }) => first))),
  loadMs: Math.round(median(all.map(({ load }) => load))),
  slowestMs: Math.round(Math.max(...all.map(({ first }) => first))),
}));
if (process.argv.includes("--json")) console.log(JSON.stringify(rows));
else console.table(rows);
