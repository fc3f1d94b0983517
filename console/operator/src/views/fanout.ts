// The fan-out of a channel as a tree: its owner, the nodes it is spread to, and how many sessions get it
// where.
import { element } from "../../../shared/element.js";
import { count, plural } from "../format.js";
import type { Branch } from "../model.js";
import { bar } from "../parts.js";

/** As deep as any tree is drawn; regions make two steps. */
const DEPTH = 6;

export function fanoutTree(list: HTMLElement, root: Branch): void {
  const said = JSON.stringify(root);
  if (list.dataset.said === said) return;
  list.dataset.said = said;
  list.replaceChildren(branch(root, "owner", Math.max(1, most(root, 0)), 0));
}

function branch(of: Branch, role: string, widest: number, depth: number): HTMLElement {
  const { node = "–", region, sessions, relay, children } = of;
  const name = element("b", {}, node ?? "–");
  const where = [role, region, relay ? "spreads it in its region" : ""].filter(Boolean).join(", ");
  const line = element("p", {}, element("span", { className: "where" }, name, ` ${where} `));
  if (sessions !== null && sessions !== undefined) {
    const many = element("span", { className: "count" }, plural(sessions, "session"));
    line.append(bar(sessions / widest), many);
  }
  const item = element("li", {}, line);
  const below = children ?? [];
  if (below.length > 0 && depth < DEPTH) {
    item.append(element("ul", {}, ...below.map((child) => branch(child, "", widest, depth + 1))));
  } else if (below.length > 0) {
    item.append(element("p", { className: "faint" }, `and ${count(below.length)} below it`));
  }
  return item;
}

function most({ sessions, children }: Branch, depth: number): number {
  if (depth > DEPTH) return 0;
  return Math.max(sessions ?? 0, ...(children ?? []).map((child) => most(child, depth + 1)));
}
