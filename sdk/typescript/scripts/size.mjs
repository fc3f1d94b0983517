// The budgets of what a page downloads: minified, gzip -9. The core alone, and everything that is not
// React. Above a budget something has to go, or the number is raised by hand and with a reason.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { mangling } from "./build.mjs";

const BUDGETS = [
  { name: "core", entries: ["index"], bytes: 21 * 1024 },
  {
    name: "everything",
    entries: ["index", "channels", "history", "inbox", "outbox-idb", "presence"],
    bytes: 23 * 1024,
  },
];

const MANGLING = mangling();

/** The size of a page that imports all of `entries`, in bytes as they travel. */
export async function size(entries) {
  const result = await build({
    stdin: {
      contents: entries.map((entry) => `export * from "./src/${entry}.ts";`).join("\n"),
      resolveDir: fileURLToPath(new URL("..", import.meta.url)),
    },
    bundle: true,
    format: "esm",
    minify: true,
    platform: "browser",
    target: "es2022",
    external: ["react"],
    write: false,
    ...(await MANGLING),
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
