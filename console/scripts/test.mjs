// Everything that has to hold, with one last line that tools count: types, lint, that dist/ is what the
// sources make and no larger than it may be, and the pages in a browser (STERNA_BIN names the node).
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Of each step, in milliseconds. */
const TIMEOUT = 500_000;
let passed = 0;
let failed = 0;

function run(command, ...args) {
  const options = { cwd: root, encoding: "utf8", timeout: TIMEOUT, killSignal: "SIGKILL" };
  const { status, stdout, stderr, error } = spawnSync(command, args, options);
  return { isGood: status === 0, said: `${stdout ?? ""}${stderr ?? ""}${error ?? ""}` };
}

function check(name, { isGood, said }) {
  console.log(`${isGood ? "ok  " : "FAIL"} ${name}`);
  if (!isGood) console.log(said);
  if (isGood) passed++;
  else failed++;
}

const local = (name) => `${root}node_modules/.bin/${name}`;
check("types", run(local("tsc")));
check("lint", run(local("biome"), "check", "--error-on-warnings", "."));
check("dist", run(process.execPath, "scripts/build.mjs", "--check"));

const files = readdirSync(`${root}tests`)
  .filter((name) => name.endsWith(".test.mjs"))
  .map((name) => `tests/${name}`);
const tests = run(process.execPath, "--test", "--test-reporter=tap", ...files);
const count = (word) => Number(new RegExp(`^# ${word} (\\d+)$`, "m").exec(tests.said)?.[1] ?? 0);
passed += count("pass");
// What was cancelled, skipped or left for later is no pass; nor is a run without tests.
const missing = count("tests") - count("pass");
failed += missing || Number(!tests.isGood || count("pass") === 0);
console.log(
  `${tests.isGood ? "ok  " : "FAIL"} in a browser: ${count("pass")} of ${count("tests")}`,
);
if (!tests.isGood) console.log(tests.said);

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
