// The way in: a key is pasted, tried, and kept for this tab. Says what is wrong with one that does not
// open the console, and how to get one that does.
import { element } from "../../shared/element.js";
import { Api, Failure } from "./api.js";

/** How one comes by a key that looks and changes nothing. */
const MAKE = `umask 077
openssl rand -base64 24 > /etc/sterna/watch.secret

[[http.api_keys]]
id = "watch"
secret_file = "/etc/sterna/watch.secret"
role = "observer"`;

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
    element(
      "p",
      {},
      "Paste an API key of this node: an observer's to look, an operator's to drain.",
    ),
    element("label", { htmlFor: "key" }, "API key"),
    input,
    said,
    button,
    element(
      "p",
      { className: "faint" },
      "A key that looks and changes nothing is a secret, and four lines in the configuration:",
    ),
    element("pre", {}, element("code", {}, MAKE)),
    element(
      "p",
      { className: "faint" },
      "then the node is started anew. The key of ",
      element("code", {}, "sterna dev"),
      " is in ",
      element("code", {}, ".sterna/keys/api.secret"),
      ". What you paste stays in this tab and ends with it.",
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
        ? "401: this is a token, and it has expired; the console is opened by an API key."
        : "401: this node has no such API key; was it started since the key was made?";
    case "forbidden":
      return "403: this opens no console: it is the access token of a user. Use an API key.";
    default:
      return `${failure.message}.`;
  }
}
