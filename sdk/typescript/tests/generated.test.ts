// What is generated is what the sources say now.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { EARLY_FRAMES } from "../src/driver/attempt.js";
import { RECEIVE_QUEUE_EVENTS } from "../src/options.js";
import { WAITING_CALLS } from "../src/session/calls.js";
import { LATE_ANSWERS } from "../src/session/in-flight.js";
import { WAITING_EPHEMERALS } from "../src/session/session.js";
import { WAITING_BYTES, WAITING_PUBLICATIONS } from "../src/session/subscription/waiting.js";
import { ERRORS } from "../src/wire/codes.js";
import { isTerminal } from "../src/wire/reason.js";

const SCRIPT = fileURLToPath(new URL("../scripts/generate.mjs", import.meta.url));

/** Without what the formatter decides. */
const bare = (text: string) => text.replace(/\s+|[,;]/g, "");

describe("generated files are current (npm run generate)", () => {
  const files: [string, string][] = Object.entries(
    JSON.parse(execFileSync(process.execPath, [SCRIPT, "--print"], { encoding: "utf8" })),
  );
  test.each(files)("%s", (path, text) => {
    const committed = readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
    expect(bare(committed)).toBe(bare(text));
  });
});

test("the number of a close code alone tells whether to connect again, as in proto/src/reason.rs", () => {
  for (const code of [3000, 3001, 3006, 3499, 4000, 4400, 1000, 1001, 1005, 1006, 1011]) {
    expect(isTerminal(code), String(code)).toBe(false);
  }
  for (const code of [1002, 1007, 1009, 3500, 3505, 3999, 4500, 4999]) {
    expect(isTerminal(code), String(code)).toBe(true);
  }
});

test("refusals have names and numbers of their own", () => {
  const names = ERRORS.map((name) => name.replace("!", ""));
  expect(new Set(names).size).toBe(names.length);
  expect(names.length).toBeGreaterThanOrEqual(15);
});

test("i12 queues have the bounds of the Rust client", () => {
  const bounds: [name: string, bound: number, path: string][] = [
    ["EARLY_FRAMES", EARLY_FRAMES, "driver/attempt.rs"],
    ["LATE_ANSWERS", LATE_ANSWERS, "session/in_flight.rs"],
    ["RECEIVE_QUEUE_EVENTS", RECEIVE_QUEUE_EVENTS, "options.rs"],
    ["WAITING_CALLS", WAITING_CALLS, "session/calls.rs"],
    ["WAITING_EPHEMERALS", WAITING_EPHEMERALS, "session/polling.rs"],
    ["WAITING_PUBLICATIONS", WAITING_PUBLICATIONS, "session/subscription/pushes.rs"],
    ["WAITING_BYTES", WAITING_BYTES, "session/subscription/pushes.rs"],
  ];
  for (const [name, bound, path] of bounds) {
    const rust = readFileSync(new URL(`../../rust/src/${path}`, import.meta.url), "utf8");
    const [, factors] = new RegExp(`const ${name}: usize = ([\\d *]+);`).exec(rust) ?? [];
    const product = factors?.split("*").reduce((all, factor) => all * Number(factor), 1);
    expect(product, name).toBe(bound);
  }
});
