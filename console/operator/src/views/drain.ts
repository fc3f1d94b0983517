// Taking the node that is asked out of the cluster: what stays where, the order, and how far it is.
import { element } from "../../../shared/element.js";
import type { App } from "../app.js";
import { confirmByName } from "../confirm.js";
import { count, duration, plural } from "../format.js";
import { attached, type Drain } from "../model.js";
import { chip, Facts, Panel } from "../parts.js";

const EVERY = 1000;
const DEADLINE_SECONDS = 10;

/** The panel; `name` says which node it is about. */
export function drainPanel(app: App): {
  element: HTMLElement;
  name(name: string): void;
  end(): void;
} {
  const facts = new Facts();
  const bar = element("progress", { max: 1, value: 0, hidden: true, ariaLabel: "moved" });
  const panel = new Panel("This node", bar, facts.element);
  const title = panel.head.firstElementChild as HTMLElement;
  const button = element("button", { type: "button" }, "Drain…");
  button.hidden = true;
  panel.head.append(button);
  panel.body.append(
    element("p", { className: "faint" }, OTHERS, element("code", {}, COMMAND), "."),
  );
  let node = "";
  let most = 1;
  let isLeaving = false;
  let hasLeft = false;
  const ordered = () => {
    // It may have left before it is asked again.
    isLeaving = true;
    poll.now();
  };
  button.addEventListener("click", () => ask(app, node, ordered));

  const poll = app.poll(
    (signal) => app.api.get<Drain>("operate/drain", signal),
    EVERY,
    (drain) => {
      panel.clear();
      // An answer from before the order may come after it; only a node that was gone has forgotten one.
      isLeaving = drain.draining || (isLeaving && !hasLeft);
      hasLeft = false;
      button.hidden = !app.mayChange;
      button.disabled = isLeaving;
      bar.hidden = !isLeaving;
      const left = (drain.sessions ?? 0) + (drain.slots ?? 0);
      most = isLeaving ? Math.max(most, left) : Math.max(1, left);
      bar.value = isLeaving ? 1 - left / most : 0;
      show(facts, drain);
    },
    (failure) => {
      panel.fail(failure);
      if (failure.trouble === "unreachable" && isLeaving) {
        panel.say(`${node} does not answer any more: it has left.`);
        bar.value = 1;
        hasLeft = true;
      }
    },
  );
  return {
    element: panel.element,
    name: (name) => {
      node = name;
      if (title.textContent !== name) title.textContent = name || "This node";
    },
    end: () => poll.stop(),
  };
}

const OTHERS = "A node is drained by itself. For another one open its own console, or run ";
const COMMAND = "sterna drain --url http://NODE:4480";

function show(facts: Facts, drain: Drain): void {
  const { draining, left_ms = 0, successor, sessions, connections, slots } = drain;
  facts.set("State", draining ? chip("leaving", "warn") : chip("serving", "good"));
  // Before an order, the node counts no sessions here.
  facts.set("Sessions left", draining ? count(sessions) : undefined);
  facts.set("Connections", count(connections));
  facts.set("Slots it owns", `${count(slots)} of 2,048`);
  facts.set("Deadline", draining ? `in ${duration((left_ms ?? 0) / 1000)}` : undefined);
  facts.set("Clients go", draining ? successor || "each to an edge with room" : undefined);
}

function ask(app: App, node: string, done: () => void): void {
  const deadline = element("input", {
    type: "number",
    min: "1",
    max: "3600",
    value: String(DEADLINE_SECONDS),
    required: true,
  });
  const successor = element("input", { type: "text", placeholder: "each to an edge with room" });
  const counts = app.cluster?.nodes?.find(({ name }) => name === node)?.sessions;
  const sessions = attached(counts);
  confirmByName({
    title: `Drain ${node}?`,
    text: `It refuses newcomers, gives its channels away, moves ${plural(sessions, "session")} to other edges, and ends. This cannot be taken back.`,
    name: node,
    action: "Drain",
    fields: [
      element("label", {}, "Deadline in seconds", deadline),
      element("label", {}, "All clients go to (host:port)", successor),
    ],
    act: async () => {
      const order = { deadline_ms: Number(deadline.value) * 1000 };
      const to = successor.value.trim();
      await app.api.post("drain", to ? { ...order, successor: to } : order);
      done();
    },
  });
}
