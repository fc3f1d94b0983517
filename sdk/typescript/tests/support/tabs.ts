// Tabs that share a connection, with a node that is the test: what it takes to open them, to say something to
// them, and to see what they have heard.
import { vi } from "vitest";
import type { ClientOptions, Subscription, WebSocketConstructor } from "../../src/index.js";
import type { Command } from "../../src/wire/schema.js";
import { type FakeTab, Origin } from "./origin.js";
import { FakeSocket } from "./socket.js";
import { pub } from "./transport.js";

/** An origin without connections. */
export function newOrigin(): Origin {
  FakeSocket.all = [];
  return new Origin({ webSocket: FakeSocket as unknown as WebSocketConstructor });
}

export const until = <Value>(look: () => Value) =>
  vi.waitFor(
    () => {
      const value = look();
      if (!value) throw new Error(`never: ${look}`);
      return value;
    },
    { timeout: 10_000, interval: 5 },
  );

/** The connection of the worker, once it is there. */
export const socketAt = (at: number) => until(() => FakeSocket.all[at]);

/** The next command of this verb that the node gets. */
export async function take<Verb extends keyof Command>(socket: FakeSocket, verb: Verb) {
  const command = await until(() => socket.commands.find((each) => each[verb]));
  socket.commands.splice(socket.commands.indexOf(command), 1);
  return { id: command.id, asked: command[verb] as NonNullable<Command[Verb]> };
}

/** Opens the connection of the worker and answers its Hello. */
export async function accept(at = 0): Promise<FakeSocket> {
  const socket = await socketAt(at);
  socket.open();
  await until(() => socket.commands.length);
  socket.welcome();
  return socket;
}

/** So many tabs, connected. */
export async function tabs(
  origin: Origin,
  count: number,
  options: ClientOptions = {},
): Promise<{ tabs: FakeTab[]; socket: FakeSocket }> {
  const made = Array.from({ length: count }, () => origin.open({ token: "token", ...options }));
  for (const { client } of made) client.connect();
  const socket = await accept();
  await Promise.all(made.map(({ client }) => client.ready({ timeout: 10_000 })));
  return { tabs: made, socket };
}

/** The node says where the channel stands. */
export async function answer(socket: FakeSocket, offset = 0) {
  const { id, asked } = await take(socket, "subscribe");
  const position = { epoch: 1, offset };
  const { channel } = asked;
  socket.say({
    reply: { id, subscribed: { channel, position, live: true, headOffset: offset } },
  });
  return asked;
}

/** What a subscription has yielded. */
export function read(room: Subscription) {
  const offsets: number[] = [];
  const others: string[] = [];
  room.on("publication", ({ position }) => offsets.push(position.offset));
  for (const type of ["gap", "ephemeral", "presence", "presenceGap", "error", "head"] as const) {
    room.on(type, () => others.push(type));
  }
  return { offsets, others };
}

export const say = (socket: FakeSocket, channel: string, from: number, upto: number) => {
  for (let offset = from; offset <= upto; offset++) {
    socket.say({ push: { publication: pub(channel, offset) } });
  }
};
export const upTo = (count: number, from = 1) =>
  Array.from({ length: count - from + 1 }, (_, at) => at + from);
