// The keys, on a card.
import { element } from "../../shared/element.js";
import { SCREENS } from "./route.js";

export function help(): void {
  const list = element("dl", { className: "keys" });
  const rows = [
    ...SCREENS.map(({ key, title }) => [`g ${key}`, title]),
    ["/", "to the field of the screen"],
    ["← →", "along a chart that has the focus; Esc: back to now"],
    ["?", "this card"],
  ];
  for (const [keys = "", what = ""] of rows) {
    list.append(element("dt", {}, element("kbd", {}, keys)), element("dd", {}, what));
  }
  const close = element("button", { type: "submit" }, "Close");
  const form = element("form", { method: "dialog" }, element("h2", {}, "Keys"), list, close);
  const dialog = element("dialog", { ariaLabel: "Keys" }, form);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
