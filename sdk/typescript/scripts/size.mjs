// The budgets of what a page downloads of dist/: minified, gzip -9. The core alone, everything that is
// not React, and what a tab and a worker have that share a connection. Each is what was reached, and at most 100
// bytes more. Above a budget something has to go, or the number is raised by hand and with a reason.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const BUDGETS = [
  { name: "core", entries: ["index"], bytes: 19_810 },
  { name: "core and plain HTTP", entries: ["index", "http"], bytes: 21_560 },
  {
    name: "everything",
    entries: ["index", "channels", "history", "inbox", "outbox-idb", "presence"],
    bytes: 21_700,
  },
  { name: "a tab with a shared connection", entries: ["worker"], bytes: 21_170 },
  { name: "the worker that shares it", entries: ["shared-worker"], bytes: 25_270 },
];

/** The size of a page that imports all of `entries`, in bytes as they travel. */
export async function size(entries) {
  const result = await build({
    stdin: {
      contents: entries.map((entry) => `export * from "./dist/${entry}.js";`).join("\n"),
      resolveDir: fileURLToPath(new URL("..", import.meta.url)),
    },
    bundle: true,
    format: "esm",
    minify: true,
    platform: "browser",
    target: "es2022",
    external: ["react"],
    write: false,
  });
  return gzipSync(result.outputFiles[0].contents, { level: 9 }).length;
}

export async function measure() {
  const sizes = [];
  for (const budget of BUDGETS) sizes.push({ ...budget, size: await size(budget.entries) });
  return sizes;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { name, size, bytes } of await measure()) {
    console.log(`${name}: ${size} of ${bytes} bytes`);
    if (size > bytes) process.exitCode = 1;
  }
}
