// A page of Chromium with one script in it, made of an entry file here.

import { once } from "node:events";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const PATIENCE = 120_000;

/** The script of an entry file, as a page would ship it. */
export async function bundled(entry) {
  const result = await build({
    entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
    bundle: true,
    format: "iife",
    globalName: "bench",
    minify: true,
    target: "es2022",
    write: false,
  });
  return result.outputFiles[0].text;
}

/** Chromium, and a server of this machine for `files` by their paths. */
export async function browse(files, use) {
  const server = createServer((request, response) => {
    const [type, text] = files[new URL(request.url, "http://localhost").pathname] ?? [];
    response.writeHead(type ? 200 : 404, { "content-type": type ?? "text/plain" });
    response.end(text);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const args = ["--no-sandbox", "--ignore-certificate-errors"];
  const browser = await chromium.launch({ executablePath, args });
  try {
    return await use(browser, `http://localhost:${server.address().port}`);
  } finally {
    await browser.close();
    server.close();
  }
}

export const HTML = (script) =>
  `<!doctype html><meta charset="utf-8"><title>bench</title><script src="${script}"></script>`;

export async function open(browser, url) {
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("console", (message) => console.error(message.text()));
  page.on("pageerror", (error) => console.error(`${error}`));
  await page.goto(url);
  page.on("close", () => context.close().catch(() => {}));
  return page;
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
