// The way in: a key is pasted, tried, and kept for this tab. Says what is wrong with one that does not
// open the console, and how to get one that does.
import { element } from "../../shared/element.js";
import { Api, Failure } from "./api.js";

/** What the page says before anybody has tried. */
const WELCOME =
  "Paste an API key of this node, or an access token with the role observer or operator.";

const MAKE = `sterna token --user ops --role observer \\
  --ttl 8h --secret-file /etc/sterna/token.secret`;

/** A form that calls `enter` with a key that opens the console. */
export function signIn(enter: (key: string) => void, reason?: Failure): HTMLElement {
  const input = element("input", {
    type: "password",
    id: "key",
    name: "key",
    required: true,
    autocomplete: "off",
    spellcheck: false,
  });
  const said = element("p", { className: "said", role: "alert" });
  const say = (failure: Failure | undefined) => {
    said.textContent = failure ? explanation(failure) : "";
    said.hidden = !failure;
  };
  const button = element("button", { type: "submit" }, "Sign in");
  const made = element(
    "form",
    { className: "signin panel" },
    element("h1", { tabIndex: -1 }, "Sterna console"),
    element("p", {}, WELCOME),
    element("label", { htmlFor: "key" }, "Key or token"),
    input,
    said,
    button,
    element("p", { className: "faint" }, "A token for looking, not for changing, is made with"),
    element("pre", {}, element("code", {}, MAKE)),
    element(
      "p",
      { className: "faint" },
      "with the HS256 secret of ",
      element("code", {}, "auth.keys"),
      "; without --secret-file it is that of the dev node of the same directory. What you paste stays in " +
        "this tab and ends with it.",
    ),
  );
  say(reason);
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    attempt(input.value.trim())
      .then(enter, (error) => say(error instanceof Failure ? error : undefined))
      .finally(() => {
        button.disabled = false;
      });
  });
  return made;
}

/** The key, when the node opens to it. */
async function attempt(key: string): Promise<string> {
  await new Api(key).get("operate/cluster");
  return key;
}

function explanation(failure: Failure): string {
  switch (failure.trouble) {
    case "unauthorized":
      return failure.text("name") === "TOKEN_EXPIRED"
        ? "401: this token has expired. Make another one as below."
        : "401: this is neither an API key nor an access token of this node.";
    case "forbidden":
      return (
        "403: this token is valid and does not open the console: it has no role. Make one as below, " +
        "or use an API key."
      );
    default:
      return `${failure.message}.`;
  }
}
