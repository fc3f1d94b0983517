// The steps of a publication along time, one line each: where, what, when, and how long since the step
// before.
import { drawn, element } from "../../../shared/element.js";
import { exact, microseconds } from "../format.js";
import type { Step } from "../model.js";

/** The least that can be seen, in percent. */
const THIN = 0.8;

export function timeline(place: HTMLElement, steps: readonly Step[]): void {
  const said = JSON.stringify(steps);
  if (place.dataset.said === said) return;
  place.dataset.said = said;
  const sorted = [...steps].sort((a, b) => (a.at_us ?? 0) - (b.at_us ?? 0));
  const begin = sorted[0]?.at_us ?? 0;
  const span = Math.max(1, (sorted.at(-1)?.at_us ?? 0) - begin);
  const list = element("ol");
  let before = begin;
  for (const { at_us, node, what, count } of sorted) {
    const at = at_us ?? before;
    const from = (100 * (before - begin)) / span;
    const width = Math.max(THIN, (100 * (at - before)) / span);
    const bar = drawn("svg", { class: "steps", width: "100%", height: 14, "aria-hidden": "true" });
    bar.append(
      drawn("rect", { class: "track", x: 0, y: 6, width: "100%", height: 2 }),
      drawn("rect", {
        class: "step",
        x: `${Math.min(from, 100 - width)}%`,
        y: 2,
        width: `${width}%`,
        height: 10,
        rx: 2,
      }),
    );
    const many = count == null ? "" : ` (${exact(count)})`;
    list.append(
      element(
        "li",
        {},
        element("b", {}, node ?? "–"),
        element("span", { className: "what" }, `${what ?? "–"}${many}`),
        bar,
        element("span", { className: "at" }, microseconds(at - begin)),
        element(
          "span",
          { className: "faint since" },
          at > before ? `+${microseconds(at - before)}` : "",
        ),
      ),
    );
    before = at;
  }
  place.replaceChildren(...(sorted.length > 0 ? [list] : []));
}
