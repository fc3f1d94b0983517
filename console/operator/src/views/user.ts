// Where the sessions of a user are: on which edges, as the cluster has it in Redis, and what the node
// that is asked knows of its own.
import { element } from "../../../shared/element.js";
import type { App, Screen } from "../app.js";
import { short } from "../format.js";
import type { Found, Inspection } from "../model.js";
import { form, Panel } from "../parts.js";
import { hrefOf } from "../route.js";
import { Table } from "../table.js";
import { sessionTable } from "./top.js";

const EVERY = 5000;
/** As many as a node tells. */
const MOST = 200;
/** Of these, on the screen. */
const SHOWN = 20;

type Place = NonNullable<Found["sessions"]>[number];

export function findSessions(app: App, user: string): Screen {
  const places = placeTable();
  const here = sessionTable(
    user ? "None of its sessions is busy here." : "No session is busy here.",
  );
  const everywhere = new Panel(`Sessions of ${user}`, places.element);
  const busy = new Panel(
    user ? "Of these, busy on this node" : "Busiest on this node",
    here.element,
  );
  const find = finder(user, (name) => {
    location.hash = hrefOf("session", name ? `user:${name}` : "");
  });
  const polls: { stop(): void }[] = [
    app.poll(
      (signal) => app.api.get<Inspection>(`operate/node?most=${MOST}`, signal),
      EVERY,
      ({ sessions }) => {
        busy.clear();
        const shown = (sessions ?? []).filter((it) => !user || it.user === user);
        here.show(shown.slice(0, SHOWN));
      },
      (failure) => busy.fail(failure),
    ),
  ];
  if (user) {
    const everyone = app.poll(
      (signal) => app.api.post<Found>("sessions", { user }, signal),
      EVERY,
      ({ sessions }) => {
        everywhere.clear();
        places.show(sessions ?? []);
      },
      (failure) => everywhere.fail(failure),
    );
    polls.push(everyone);
  }
  return {
    title: user ? `Sessions of ${user}` : "Sessions",
    element: element(
      "div",
      { className: "screen" },
      find,
      ...(user ? [everywhere.element] : []),
      busy.element,
    ),
    search: find.querySelector("input") ?? find,
    end: () => {
      for (const poll of polls) poll.stop();
    },
  };
}

function placeTable(): Table<Place> {
  return new Table<Place>(
    "Sessions",
    [
      {
        title: "Session",
        cell: ({ session }) => ({
          text: short(session ?? "–"),
          title: session ?? "",
          href: session ? hrefOf("session", session) : undefined,
        }),
      },
      { title: "Edge", cell: ({ edge }) => edge ?? "–", by: ({ edge }) => edge ?? "" },
    ],
    ({ session }) => session ?? "",
    "This user has no session.",
  );
}

/** The way to a session, by its id or its user. */
function finder(user: string, find: (user: string) => void): HTMLElement {
  return element(
    "div",
    { className: "finders" },
    form([{ label: "User", value: user, placeholder: "User, as in alice" }], "Find", ([name]) =>
      find(name ?? ""),
    ),
    form([{ label: "Session", placeholder: "Session, in hex" }], "Open", ([id]) => {
      location.hash = hrefOf("session", id);
    }),
  );
}
