// Makes dist/: declarations by the TypeScript compiler, and beside each a module by esbuild. Sources stay as
// they read best; what makes pages small is done here. Names of properties that are nobody's business but
// ours become one or two letters: those that the sources declare and that neither the public declarations nor
// the platform have, nor any text in the sources. The rest is for the bundler of the application.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import ts from "typescript";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** What `exports` of package.json names. */
const ENTRIES = Object.values(JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")).exports).map(
  ({ default: path }) => path.replace("./dist/", "").replace(".js", ""),
);

/**
 * Sources whose names others see: applications, or a worker and tabs of another version. Of some only what is
 * given out.
 */
const PUBLIC = {
  ...Object.fromEntries(ENTRIES.map((entry) => [entry, undefined])),
  client: undefined,
  content: undefined,
  "driver/steps": ["NetworkChange"],
  errors: undefined,
  events: undefined,
  options: undefined,
  "outbox-store": undefined,
  send: undefined,
  "session/calls": ["Verb"],
  "shared/messages": undefined,
  subscription: undefined,
  "transport/link": ["TransportName", "WebSocketConstructor", "WebTransportConstructor"],
  "wire/schema": undefined,
};

/** What packages know by its name: an option of ws, and what a ref of React holds. */
const FOREIGN = ["perMessageDeflate", "current"];

/**
 * What esbuild has to be told so that internal names are short. It names them module by module unless it sees
 * all at once, so it is shown all once, and keeps to that.
 */
export async function mangling() {
  const mangleProps = new RegExp(`^(${internalNames().join("|")})$`);
  const { mangleCache } = await build({
    absWorkingDir: ROOT,
    entryPoints: ENTRIES.map((entry) => `src/${entry}.ts`),
    outdir: "dist",
    bundle: true,
    splitting: true,
    external: ["react"],
    format: "esm",
    mangleProps,
    mangleCache: {},
    write: false,
  });
  return { mangleProps, mangleCache };
}

/** Names of properties that may be any others. */
export function internalNames() {
  const { options } = ts.convertCompilerOptionsFromJson(tsconfig().compilerOptions, ROOT);
  const own = new Set();
  const others = new Set(FOREIGN);
  for (const file of ts.createProgram(sources(), options).getSourceFiles()) {
    const isOurs = file.fileName.startsWith(`${ROOT}src/`);
    // Of packages only types are known here; what they have of ours is in FOREIGN.
    if (!isOurs && !/\/lib\.[\w.]+\.d\.ts$/.test(file.fileName)) continue;
    visit(file, isOurs ? own : others, isOurs ? others : undefined);
    const path = file.fileName.slice(`${ROOT}src/`.length).replace(/\.ts$/, "");
    if (!isOurs || !(path in PUBLIC)) continue;
    for (const statement of file.statements) {
      const given = PUBLIC[path];
      if (!given || given.includes(statement.name?.text)) publicOf(statement, others);
    }
  }
  return [...own].filter((name) => !others.has(name)).sort();
}

const sources = () =>
  readdirSync(`${ROOT}src`, { recursive: true })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => `${ROOT}src/${path}`);

const tsconfig = () => JSON.parse(readFileSync(`${ROOT}tsconfig.json`, "utf8"));

/** Names that a file declares, and the texts that it holds. */
function visit(node, names, texts) {
  const { name } = node;
  if (isMember(node) && ts.isIdentifier(name)) names.add(name.text);
  if (ts.isStringLiteralLike(node)) texts?.add(node.text);
  ts.forEachChild(node, (child) => visit(child, names, texts));
}

/** Names that a file declares for others: all but those that are marked as internal, and bodies. */
function publicOf(node, names) {
  if (ts.isBlock(node)) return;
  const isInternal = ts.getJSDocTags(node).some(({ tagName }) => tagName.text === "internal");
  if (isInternal && !ts.isConstructorDeclaration(node)) return;
  if (isMember(node) && ts.isIdentifier(node.name)) names.add(node.name.text);
  ts.forEachChild(node, (child) => publicOf(child, names));
}

const isMember = (node) =>
  ts.isPropertySignature(node) ||
  ts.isPropertyDeclaration(node) ||
  ts.isPropertyAssignment(node) ||
  ts.isShorthandPropertyAssignment(node) ||
  ts.isMethodSignature(node) ||
  ts.isMethodDeclaration(node) ||
  ts.isGetAccessor(node) ||
  ts.isSetAccessor(node) ||
  (ts.isParameter(node) && (node.modifiers?.length ?? 0) > 0);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  rmSync(`${ROOT}dist`, { recursive: true, force: true });
  const tsc = `${ROOT}node_modules/.bin/tsc`;
  const { status } = spawnSync(tsc, ["-p", "tsconfig.build.json"], { cwd: ROOT, stdio: "inherit" });
  if (status !== 0) process.exit(1);
  await build({
    absWorkingDir: ROOT,
    entryPoints: sources(),
    outdir: "dist",
    format: "esm",
    target: "es2022",
    tsconfig: `${ROOT}tsconfig.json`,
    ...(await mangling()),
  });
}
