// @vitest-environment happy-dom
// The hooks in a mounted component, over a client whose server is the test.
import { StrictMode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Client, type SubscriptionEvent, type WebSocketConstructor } from "../src/index.js";
import { type UseChannelOptions, useChannel, useClientState, usePresence } from "../src/react.js";
import { FakeSocket } from "./support/socket.js";
import { page, pub } from "./support/transport.js";

let root: Root;
let place: HTMLElement;
let client: Client;

beforeEach(() => {
  FakeSocket.all = [];
  place = document.createElement("div");
  root = createRoot(place);
  client = new Client("sterna://edge", {
    webSocket: FakeSocket as unknown as WebSocketConstructor,
  });
});

afterEach(async () => {
  root.unmount();
  await client.dispose();
});

/** Waits until the component shows it. */
const shows = (text: string) => vi.waitFor(() => expect(place.textContent).toBe(text));

/** Waits until there is one. */
function until<Found>(find: () => Found | undefined): Promise<Found> {
  return vi.waitFor(() => {
    const found = find();
    expect(found).toBeTruthy();
    return found as Found;
  });
}

/** Connects the client, once a component is there that subscribes. */
async function connect(): Promise<FakeSocket> {
  await until(() => place.textContent);
  client.connect();
  const socket = await until(() => FakeSocket.all.at(-1));
  socket.open();
  await until(() => socket.commands[0]?.hello);
  socket.welcome();
  return socket;
}

function Room(props: UseChannelOptions & { channel: string }) {
  const { channel, ...options } = props;
  const state = useClientState(client);
  const { publications, isLive, gaps, error, room } = useChannel(client, channel, options);
  const present = usePresence(options.presence ? room : undefined);
  const texts = publications.map((each) => each.text()).join();
  const users = present.map(({ user }) => user).join();
  return <>{[state.name, isLive, texts, gaps.length, error?.code ?? "fine", users].join(" ")}</>;
}

test("a component shows what the channel has, and follows it", async () => {
  const events: SubscriptionEvent[] = [];
  const onEvent = (event: SubscriptionEvent) => events.push(event);
  root.render(<Room channel="room:1" from="earliest" keep={3} onEvent={onEvent} />);
  await shows("disconnected false  0 fine ");
  const socket = await connect();
  socket.say({ push: { subscribed: page("room:1", 0, 2) } });
  await shows("connected true 1,2 0 fine ");
  for (const offset of [3, 4]) socket.say({ push: { publication: pub("room:1", offset) } });
  socket.say({ push: { ephemeral: { channel: "room:1", key: "typing" } } });
  await shows("connected true 2,3,4 0 fine ");
  expect(events.map(({ type }) => type)).toContain("ephemeral");
});

test("another channel begins anew, and the old one is left; in strict mode, too", async () => {
  const show = (channel: string) =>
    root.render(
      <StrictMode>
        <Room channel={channel} />
      </StrictMode>,
    );
  show("room:1");
  const socket = await connect();
  show("room:2");
  const asked = await until(() => socket.commands.find(({ subscribe }) => subscribe));
  expect(asked.subscribe?.channel).toBe("room:2");
  const left = await until(() => socket.commands.find(({ unsubscribe }) => unsubscribe));
  expect(left.unsubscribe?.channel).toBe("room:1");
  const words = socket.commands.filter(({ subscribe, unsubscribe }) => subscribe || unsubscribe);
  expect(words).toHaveLength(2);
});

test("an end is shown with its reason", async () => {
  root.render(<Room channel="room:1" />);
  const socket = await connect();
  socket.say({ push: { unsubscribed: { channel: "room:1", error: { code: 102 } } } });
  await shows("connected false  0 PERMISSION_DENIED ");
});

test("who is there is asked for and followed", async () => {
  root.render(<Room channel="room:1" presence />);
  const socket = await connect();
  socket.say({ push: { subscribed: page("room:1", 0, 0) } });
  const question = await until(() => socket.commands.find(({ presence }) => presence));
  const here = (user: string, state = 1) => ({ user, state, sessions: 1 });
  socket.say({ reply: { id: question.id, presence: { members: [here("bob")] } } });
  await shows("connected true  0 fine bob");
  socket.say({ push: { presence: { channel: "room:1", member: here("alice") } } });
  socket.say({ push: { presence: { channel: "room:1", member: here("bob", 0) } } });
  await shows("connected true  0 fine alice");
});
