// The page of `sterna dev`: two people, a few channels. `?users=alice,bob,carol` and
// `?transports=websocket,http` choose who and how.
import type { TransportName } from "@sterna/client";
import { element } from "../../shared/element.js";
import { TRANSPORTS } from "./network.js";
import { Pane } from "./pane.js";

interface NodeDescription {
  readonly port: number;
  readonly certificateHash: string;
  readonly tokens: Record<string, string>;
}

const CHANNELS = ["room:1", "room:tern", "room:arctic"];

const find = (id: string): HTMLElement => document.getElementById(id) as HTMLElement;

async function start(): Promise<void> {
  const node: NodeDescription = await (await fetch("node.json")).json();
  const hash = Uint8Array.from(atob(node.certificateHash), (letter) => letter.charCodeAt(0));
  const asked = new URLSearchParams(location.search);
  const users = (asked.get("users") ?? "alice,bob").split(",");
  const isKnown = (name: string): name is TransportName => Object.hasOwn(TRANSPORTS, name);
  const transports = (asked.get("transports") ?? "webtransport,websocket,http")
    .split(",")
    .filter(isKnown);
  const panes = users
    .filter((user) => node.tokens[user])
    .map(
      (user) => new Pane(user, node.tokens[user] as string, { port: node.port, hash }, transports),
    );
  find("panes").append(...panes.map((pane) => pane.element));
  const linkTo = (channel: string) =>
    element("a", { href: `#${encodeURIComponent(channel)}` }, channel);
  const links = CHANNELS.map(linkTo);
  const open = (channel: string) => {
    for (const pane of panes) pane.open(channel);
    const isListed = links.some(({ textContent }) => textContent === channel);
    find("channels").replaceChildren(...links, ...(isListed ? [] : [linkTo(channel)]));
    for (const link of find("channels").children) {
      link.ariaCurrent = link.textContent === channel ? "page" : null;
    }
    find("command").textContent = `sterna pub ${channel} 'Hello from a terminal'`;
  };
  const chosen = () => decodeURIComponent(location.hash.slice(1)) || (CHANNELS[0] as string);
  addEventListener("hashchange", () => open(chosen()));
  open(chosen());
}

start().catch((error) => {
  find("panes").append(element("p", { className: "failed", role: "alert" }, `${error}`));
});
