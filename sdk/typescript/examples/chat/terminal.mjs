// A chat in the terminal against `sterna dev`: `node terminal.mjs room:1 [user]`. Takes the token, the
// address and the authority from the data directory of the node (STERNA_DATA, .sterna by default).
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { Client } from "../../dist/index.js";
import "../../dist/messages.js";
import { nodeWebSocket } from "../../dist/node.js";

const root = (path) => fileURLToPath(new URL(`../../../../${path}`, import.meta.url));
const data = process.env.STERNA_DATA ?? root(".sterna");
const sterna = ["release", "debug"].map((kind) => root(`target/${kind}/sterna`)).find(existsSync);
const [channel = "room:1", user = "terminal"] = process.argv.slice(2);

const { client: address } = JSON.parse(readFileSync(`${data}/dev.json`, "utf8"));
const client = new Client(`sterna://localhost:${address.split(":").at(-1)}`, {
  token: () =>
    execFileSync(sterna, ["token", "--user", user, "--data-dir", data]).toString().trim(),
  webSocket: nodeWebSocket(WebSocket, { ca: readFileSync(`${data}/keys/ca.pem`) }),
});
client.on("state", (state) => console.log(`(${state.name})`, state.error?.message ?? ""));
client.connect();

const room = client.subscribe(channel, { from: "earliest" });
const typed = createInterface({ input: process.stdin });
typed.on("line", async (line) => {
  try {
    await room.publish(line);
  } catch (error) {
    console.log(`not sent: ${error.message} ${error.help}`);
  }
});
typed.on("close", () => client.dispose());

for await (const event of room) {
  if (event.type === "publication") console.log(`${event.sender}: ${event.text()}`);
  if (event.type === "error") console.log(`the end: ${event.error.message} ${event.error.help}`);
}
