// What all screens are made of: panels that say what is missing, facts, chips, forms of one field.
import { drawn, element } from "../../shared/element.js";
import type { Failure } from "./api.js";

/** A part of a screen with a title. When its question fails, it says so and the rest goes on. */
export class Panel {
  readonly element: HTMLElement;
  readonly body = element("div", { className: "body" });
  readonly head: HTMLElement;
  readonly #note = element("p", { className: "note", role: "status", hidden: true });

  constructor(title: string, ...content: Node[]) {
    this.head = element("header", {}, element("h2", {}, title));
    this.body.append(...content);
    this.element = element(
      "section",
      { className: "panel", ariaLabel: title },
      this.head,
      this.#note,
      this.body,
    );
  }

  /** What it shows is true again. */
  clear(): void {
    this.#note.hidden = true;
    this.body.hidden = false;
    this.element.classList.remove("stale");
  }

  /** Says what it could not ask. What is old stays, marked; what was never there leaves its place. */
  fail(failure: Failure): void {
    this.element.classList.add("stale");
    // The page says so once, for all panels.
    if (failure.trouble === "unreachable") return;
    this.body.hidden = true;
    this.say(reasonOf(failure));
  }

  say(text: string): void {
    this.#note.hidden = false;
    if (this.#note.textContent !== text) this.#note.textContent = text;
  }
}

export function reasonOf(failure: Failure): string {
  switch (failure.trouble) {
    case "unknown":
      return "This node is of a release that does not tell this.";
    case "forbidden":
      return `Your key does not open this: ${failure.message}.`;
    default:
      return `${failure.message.charAt(0).toUpperCase()}${failure.message.slice(1)}.`;
  }
}

/** Names with values that change. */
export class Facts {
  readonly element = element("dl", { className: "facts" });
  readonly #values = new Map<string, HTMLElement>();

  /** Without a value the fact is left out. */
  set(name: string, value: string | Node | undefined, title = ""): void {
    let cell = this.#values.get(name);
    if (value === undefined) {
      cell?.parentElement?.remove();
      this.#values.delete(name);
      return;
    }
    if (!cell) {
      cell = element("dd");
      this.#values.set(name, cell);
      this.element.append(element("div", {}, element("dt", {}, name), cell));
    }
    if (cell.title !== title) cell.title = title;
    // What is the same stays: it may have the focus.
    if (typeof value !== "string")
      cell.firstChild?.isEqualNode(value) || cell.replaceChildren(value);
    else if (cell.textContent !== value || cell.firstElementChild) cell.textContent = value;
  }
}

/** A state in a word, with a sign that is not only a colour. */
export function chip(text: string, tone: "good" | "warn" | "bad" | "faint"): HTMLElement {
  const sign = { good: "●", warn: "▲", bad: "■", faint: "○" }[tone];
  const mark = element("i", { ariaHidden: "true" }, sign);
  const made = element("span", { className: "chip" }, mark, ` ${text}`);
  made.dataset.tone = tone;
  return made;
}

export interface Field {
  readonly label: string;
  readonly placeholder?: string;
  readonly value?: string;
}

/** A form in one line; `on` gets its trimmed values. */
export function form(
  fields: readonly Field[],
  action: string,
  on: (values: readonly string[]) => void,
): HTMLFormElement {
  const inputs = fields.map(({ label, placeholder = "", value = "" }) =>
    element("input", {
      type: "text",
      ariaLabel: label,
      placeholder: placeholder || label,
      value,
      required: true,
      autocomplete: "off",
      spellcheck: false,
      maxLength: 512,
    }),
  );
  const made = element(
    "form",
    { className: "ask" },
    ...inputs,
    element("button", { type: "submit" }, action),
  );
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    on(inputs.map((input) => input.value.trim()));
  });
  return made;
}

/** How much of something there is, from 0 to 1, beside the words for it. */
export function bar(share: number, isMuch = false): SVGElement {
  const width = `${100 * Math.min(1, Math.max(0, share))}%`;
  const size = { height: 6, rx: 3, y: 1 };
  return drawn(
    "svg",
    { class: "amount", width: 120, height: 8, "aria-hidden": "true" },
    drawn("rect", { class: "track", width: "100%", ...size }),
    drawn("rect", { class: isMuch ? "much" : "some", width, ...size }),
  );
}
