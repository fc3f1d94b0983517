// What a page downloads: each client alone, as it is published (`npm run build` in the package makes ours),
// through the same bundler, minified, gzip -9.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const CLIENTS = {
  "@sterna/client": 'export * from "../dist/index.js";',
  "@sterna/client, everything": ["index", "channels", "history", "inbox", "outbox-idb", "presence"]
    .map((entry) => `export * from "../dist/${entry}.js";`)
    .join("\n"),
  "centrifuge (JSON)": 'export * from "centrifuge";',
  "centrifuge (protobuf)": 'export * from "centrifuge/build/protobuf";',
  "socket.io-client": 'export * from "socket.io-client";',
  mqtt: 'export * from "mqtt";',
  ably: 'export * from "ably";',
  "ably, modular (base and WebSocket)":
    'export { BaseRealtime, WebSocketTransport, FetchRequest } from "ably/modular";',
};

const rows = [];
for (const [client, contents] of Object.entries(CLIENTS)) {
  const result = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
    bundle: true,
    format: "esm",
    minify: true,
    platform: "browser",
    target: "es2022",
    logLevel: "error",
    write: false,
  });
  const [{ contents: bytes }] = result.outputFiles;
  rows.push({ client, minified: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length });
}
if (process.argv.includes("--json")) console.log(JSON.stringify(rows));
else console.table(rows);
