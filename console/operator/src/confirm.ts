// Asks before something is done that cannot be undone: the name has to be typed.
import { element } from "../../shared/element.js";
import { Failure } from "./api.js";
import { reasonOf } from "./parts.js";

export interface Question {
  readonly title: string;
  readonly text: string;
  /** What has to be typed. */
  readonly name: string;
  readonly action: string;
  /** More to fill in. */
  readonly fields?: readonly HTMLElement[];
  readonly act: () => Promise<unknown>;
}

/** Opens the question; it closes when it is done or left. */
export function confirmByName({ title, text, name, action, fields = [], act }: Question): void {
  const input = element("input", { type: "text", autocomplete: "off", spellcheck: false });
  const button = element("button", { type: "submit", className: "danger", disabled: true }, action);
  const cancel = element("button", { type: "button" }, "Cancel");
  const said = element("p", { className: "said", role: "alert", hidden: true });
  const label = element(
    "label",
    {},
    element("span", {}, "Type ", element("b", {}, name), " to confirm"),
    input,
  );
  const form = element(
    "form",
    { method: "dialog" },
    element("h2", {}, title),
    element("p", {}, text),
    ...fields,
    label,
    said,
    element("div", { className: "buttons" }, cancel, button),
  );
  const dialog = element("dialog", { ariaLabel: title }, form);
  const isTyped = () => input.value.trim() === name;
  input.addEventListener("input", () => {
    button.disabled = !isTyped();
  });
  cancel.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!isTyped()) return;
    button.disabled = true;
    act().then(
      () => dialog.close(),
      (error) => {
        said.hidden = false;
        said.textContent = error instanceof Failure ? reasonOf(error) : `${error}`;
        button.disabled = false;
      },
    );
  });
  document.body.append(dialog);
  dialog.showModal();
  input.focus();
}
