// Everything that has to hold, one after the other, with one last line that tools count: types, lint, size,
// and the tests of Vitest, those against a real node among them (STERNA_BIN names its binary; without one
// they fail). Ends with status 1 when anything failed.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Of each step, in milliseconds. */
const TIMEOUT = 240_000;
let passed = 0;
let failed = 0;

function run(command, ...args) {
  const options = { cwd: root, encoding: "utf8", timeout: TIMEOUT, killSignal: "SIGKILL" };
  const { status, stdout, stderr, error } = spawnSync(
    join(root, "node_modules/.bin", command),
    args,
    options,
  );
  return { isGood: status === 0, said: `${stdout ?? ""}${stderr ?? ""}${error ?? ""}` };
}

function check(name, { isGood, said }) {
  console.log(`${isGood ? "ok  " : "FAIL"} ${name}`);
  if (!isGood) console.log(said);
  if (isGood) passed++;
  else failed++;
}

check("types", run("tsc"));
check("lint", run("biome", "check", "--error-on-warnings", "."));

const { measure } = await import("./size.mjs");
for (const { name, size, bytes } of await measure()) {
  const isGood = size <= bytes;
  check(`size of ${name}: ${size} of ${bytes} bytes`, { isGood, said: "above its budget" });
}

const folder = mkdtempSync(join(tmpdir(), "sterna-vitest-"));
const report = join(folder, "report.json");
const tests = run(
  "vitest",
  "run",
  "--reporter=default",
  "--reporter=json",
  `--outputFile=${report}`,
);
try {
  const { numPassedTests, numFailedTests, numTotalTests } = JSON.parse(
    readFileSync(report, "utf8"),
  );
  passed += numPassedTests;
  // What was skipped, or ended otherwise, is no pass.
  const missing = numTotalTests - numPassedTests;
  // A run that failed without a failed test (an error between tests) failed all the same.
  failed += missing || Number(!tests.isGood);
  console.log(`${tests.isGood ? "ok  " : "FAIL"} vitest: ${numPassedTests} of ${numTotalTests}`);
  if (!tests.isGood || numFailedTests > 0) console.log(tests.said);
} catch (error) {
  failed++;
  console.log(`FAIL vitest: ${error}\n${tests.said}`);
} finally {
  rmSync(folder, { recursive: true });
}

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
