// Bundles the pages into dist/, which is part of the repository so that cargo alone builds a node. With
// --check nothing is written: ends with status 1 when dist/ is not what the sources make, or a page is
// larger than it may be.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const HERE = fileURLToPath(new URL("..", import.meta.url));

/** Most bytes of a page as they travel, gzip -9, all its files together. */
const PAGE_BYTES = 30 * 1024;

const check = process.argv.includes("--check");
const { outputFiles } = await build({
  absWorkingDir: HERE,
  entryPoints: { "try/try": "try/src/main.ts", "try/style": "try/try.css" },
  outdir: "dist",
  bundle: true,
  charset: "utf8",
  format: "esm",
  legalComments: "none",
  minify: true,
  platform: "browser",
  target: "es2022",
  write: false,
});
const files = outputFiles.map(({ path, contents }) => ({
  path: path.replace("style.css", "try.css"),
  contents,
}));
files.push({
  path: `${HERE}dist/try/index.html`,
  contents: await readFile(`${HERE}try/index.html`),
});

let bytes = 0;
for (const { path, contents } of files) {
  bytes += gzipSync(contents, { level: 9 }).length;
  if (!check) {
    await mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await writeFile(path, contents);
  } else if (!Buffer.from(contents).equals(await readFile(path).catch(() => Buffer.alloc(0)))) {
    console.error(`${path} is not what the sources make: run \`npm run build\` in console/`);
    process.exitCode = 1;
  }
}
console.log(`try: ${bytes} of ${PAGE_BYTES} bytes`);
if (bytes > PAGE_BYTES) process.exitCode = 1;
