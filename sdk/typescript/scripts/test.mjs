// Everything that has to hold, one after the other, with one last line that tools count: types, lint, size,
// and the tests of Vitest: with the sources, and with what is published, dist/, then those against a real node,
// too (STERNA_BIN names its binary; without one they fail). Ends with status 1 when anything failed.
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
  const path = command === process.execPath ? command : join(root, "node_modules/.bin", command);
  const { status, stdout, stderr, error } = spawnSync(path, args, options);
  return { isGood: status === 0, said: `${stdout ?? ""}${stderr ?? ""}${error ?? ""}` };
}

function check(name, { isGood, said }) {
  console.log(`${isGood ? "ok  " : "FAIL"} ${name}`);
  if (!isGood) console.log(said);
  if (isGood) passed++;
  else failed++;
}

check("types", run("tsc"));
check("build", run(process.execPath, "scripts/build.mjs"));
check("lint", run("biome", "check", "--error-on-warnings", "."));

const { measure } = await import("./size.mjs");
for (const { name, size, bytes } of await measure()) {
  const isGood = size <= bytes;
  check(`size of ${name}: ${size} of ${bytes} bytes`, { isGood, said: "above its budget" });
}

const folder = mkdtempSync(join(tmpdir(), "sterna-vitest-"));
const report = join(folder, "report.json");

/** Runs tests and counts them. */
function vitest(name, ...options) {
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile=${report}`];
  const tests = run("vitest", "run", ...reporters, ...options);
  try {
    const { numPassedTests, numFailedTests, numTotalTests } = JSON.parse(
      readFileSync(report, "utf8"),
    );
    passed += numPassedTests;
    // What was skipped, or ended otherwise, is no pass.
    const missing = numTotalTests - numPassedTests;
    // A run that failed without a failed test (an error between tests) failed all the same.
    failed += missing || Number(!tests.isGood);
    console.log(`${tests.isGood ? "ok  " : "FAIL"} ${name}: ${numPassedTests} of ${numTotalTests}`);
    if (!tests.isGood || numFailedTests > 0) console.log(tests.said);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${error}\n${tests.said}`);
  } finally {
    rmSync(report, { force: true });
  }
}

vitest("vitest", "--exclude", "tests/integration/**");
process.env.STERNA_BUILT = "1";
vitest("vitest, as published");
rmSync(folder, { recursive: true });

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
