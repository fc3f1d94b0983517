// Unit tests run by themselves; those of tests/integration need a node binary and say so.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["tests/**/*.test.{ts,tsx}"], testTimeout: 20_000, hookTimeout: 30_000 },
});
