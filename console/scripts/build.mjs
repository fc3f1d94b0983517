// Bundles the pages into dist/, which is part of the repository so that cargo alone builds a node. With
// --check nothing is written: ends with status 1 when dist/ is not what the sources make, or a page is
// larger than it may be.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const HERE = fileURLToPath(new URL("..", import.meta.url));

/** Where a page comes from, and the most bytes of it as they travel: gzip -9, all its files together. */
const PAGES = [
  { name: "try", from: "try", bytes: 30 * 1024 },
  { name: "console", from: "operator", bytes: 60 * 1000 },
];

const isCheck = process.argv.includes("--check");

/** The files of a page: its program, its style, its frame. */
async function filesOf({ name, from }) {
  const { outputFiles } = await build({
    absWorkingDir: HERE,
    entryPoints: {
      [`${name}/${name}`]: `${from}/src/main.ts`,
      [`${name}/style`]: `${from}/${name}.css`,
    },
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
  const html = await readFile(`${HERE}${from}/index.html`);
  return [
    ...outputFiles.map(({ path, contents }) => ({
      path: path.replace("style.css", `${name}.css`),
      contents,
    })),
    { path: `${HERE}dist/${name}/index.html`, contents: html },
  ];
}

for (const page of PAGES) {
  let bytes = 0;
  for (const { path, contents } of await filesOf(page)) {
    bytes += gzipSync(contents, { level: 9 }).length;
    if (!isCheck) {
      await mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
      await writeFile(path, contents);
    } else if (!Buffer.from(contents).equals(await readFile(path).catch(() => Buffer.alloc(0)))) {
      console.error(`${path} is not what the sources make: run \`npm run build\` in console/`);
      process.exitCode = 1;
    }
  }
  console.log(`${page.name}: ${bytes} of ${page.bytes} bytes`);
  if (bytes > page.bytes) process.exitCode = 1;
}
