// Unit tests run by themselves; those of tests/integration need a node binary and say so. With STERNA_BUILT all
// of them are about dist/, in which internal names are short, and say those names as short: what depends on one
// that must not be fails there.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { mangling } from "./scripts/build.mjs";

const built = {
  find: /^(?:\.\.\/)+src\//,
  replacement: fileURLToPath(new URL("dist/", import.meta.url)),
};

export default defineConfig(async () => ({
  ...(process.env.STERNA_BUILT && { resolve: { alias: [built] }, esbuild: await mangling() }),
  test: { include: ["tests/**/*.test.{ts,tsx}"], testTimeout: 20_000, hookTimeout: 30_000 },
}));
