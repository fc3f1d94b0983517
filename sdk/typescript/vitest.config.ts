// Unit tests run by themselves; those of tests/integration need a node binary and say so. With STERNA_BUILT they
// are about dist/, in which internal names are short: whatever depends on one that is not fails there.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const built = {
  find: /^(?:\.\.\/)+src\//,
  replacement: fileURLToPath(new URL("dist/", import.meta.url)),
};

export default defineConfig({
  resolve: { alias: process.env.STERNA_BUILT ? [built] : [] },
  test: { include: ["tests/**/*.test.{ts,tsx}"], testTimeout: 20_000, hookTimeout: 30_000 },
});
