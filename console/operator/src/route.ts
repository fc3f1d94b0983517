// Where in the console one is: `#/channel/room%3A1`. Names are carried encoded and shown as they are.

export type Screen = "overview" | "top" | "session" | "channel" | "trace" | "nodes";

export interface Route {
  readonly screen: Screen;
  /** What is looked at: a session, a channel, a trace; empty: choose one. */
  readonly of: string;
}

/** `key`: what leads there after a `g`. */
export const SCREENS: readonly {
  readonly screen: Screen;
  readonly title: string;
  readonly key: string;
}[] = [
  { screen: "overview", title: "Overview", key: "o" },
  { screen: "top", title: "Top", key: "t" },
  { screen: "session", title: "Sessions", key: "s" },
  { screen: "channel", title: "Channels", key: "c" },
  { screen: "trace", title: "Trace", key: "r" },
  { screen: "nodes", title: "Nodes", key: "n" },
];

export function routeOf(hash: string): Route {
  const [, name = "", ...rest] = hash.replace(/^#/, "").split("/");
  const found = SCREENS.find(({ screen }) => screen === name);
  return { screen: found?.screen ?? "overview", of: found ? decoded(rest.join("/")) : "" };
}

export const hrefOf = (screen: Screen, of = ""): string =>
  of ? `#/${screen}/${encodeURIComponent(of)}` : `#/${screen}`;

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
