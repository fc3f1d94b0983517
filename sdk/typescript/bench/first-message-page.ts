// What a page does first: connects, subscribes from the start and reads one publication.
import { Client } from "../src/index.js";

declare const PLACE: { port: number; token: string; hash: number[]; transport: string };

const client = new Client(`sterna://127.0.0.1:${PLACE.port}`, {
  token: PLACE.token,
  transports: [PLACE.transport as "websocket" | "webtransport"],
  certificateHashes: [Uint8Array.from(PLACE.hash)],
});
const room = client.subscribe("room:first", { from: "earliest" });
client.connect();
room.on("publication", () => {
  // Since the navigation began.
  (globalThis as { first?: number }).first ??= performance.now();
});
