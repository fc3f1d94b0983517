// Makes dist/: declarations by the TypeScript compiler, and beside each a module by esbuild. Sources stay as
// they read best; what makes pages small is done here. Names of properties that are nobody's business but
// ours become one or two letters: those that the sources declare and that neither the public declarations nor
// the platform have, nor any text in the sources. Numbers and texts that have a name at the end of a file, or in
// another, stand where they are used. The rest is for the bundler of the application.
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";
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

/**
 * Constants of the sources that are made of numbers or are one text, as they are written, by their names. A
 * name means the same in all of them, or is left as it is.
 */
function plainConstants() {
  const found = new Map();
  for (const path of sources()) {
    for (const { name, initializer } of constants(parsed(path))) {
      const text = initializer && isPlain(initializer) ? initializer.getText() : undefined;
      found.set(
        name.text,
        found.has(name.text) && found.get(name.text) !== text ? undefined : text,
      );
    }
  }
  return new Map([...found].filter(([, text]) => text !== undefined));
}

/** The text of a source with these constants in place of their names, where nothing else can be meant. */
function withConstants(path, plain) {
  const file = parsed(path);
  const edits = [];
  const known = new Set(constants(file).map(({ name }) => name.text));
  for (const statement of file.statements) {
    for (const { name, propertyName } of statement.importClause?.namedBindings?.elements ?? []) {
      if (!propertyName) known.add(name.text);
    }
  }
  const look = (node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return;
    if (isUse(node) && known.has(node.text) && plain.has(node.text)) {
      const isShorthand = ts.isShorthandPropertyAssignment(node.parent);
      edits.push([node, `${isShorthand ? `${node.text}: ` : ""}(${plain.get(node.text)})`]);
    }
    ts.forEachChild(node, look);
  };
  look(file);
  let text = file.text;
  for (const [node, value] of edits.reverse()) {
    text = text.slice(0, node.getStart()) + value + text.slice(node.end);
  }
  return text;
}

const parsed = (path) =>
  ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.ES2022, true);

const constants = (file) =>
  file.statements
    .filter(
      (each) => ts.isVariableStatement(each) && each.declarationList.flags & ts.NodeFlags.Const,
    )
    .flatMap((each) => [...each.declarationList.declarations])
    .filter(({ name }) => /^[A-Z][A-Z0-9_]*$/.test(name.text ?? ""));

const isPlain = (node) =>
  ts.isNumericLiteral(node) ||
  ts.isStringLiteral(node) ||
  (ts.isBinaryExpression(node) && isPlain(node.left) && isPlain(node.right)) ||
  (ts.isParenthesizedExpression(node) && isPlain(node.expression));

const isUse = (node) =>
  ts.isIdentifier(node) &&
  !(ts.isVariableDeclaration(node.parent) && node.parent.name === node) &&
  !(ts.isPropertyAccessExpression(node.parent) && node.parent.name === node) &&
  !(ts.isPropertyAssignment(node.parent) && node.parent.name === node);

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
  const plain = plainConstants();
  const options = {
    format: "esm",
    target: "es2022",
    tsconfigRaw: tsconfig(),
    ...(await mangling()),
  };
  for (const path of sources()) {
    const text = withConstants(path, plain);
    const { code } = await transform(text, { ...options, loader: "ts", sourcefile: path });
    const out = path.replace(`${ROOT}src/`, `${ROOT}dist/`).replace(/\.ts$/, ".js");
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, code);
  }
}
