// The operators' console: signs in, keeps the frame, and shows the screen that the address names.
import { element } from "../../shared/element.js";
import type { Failure } from "./api.js";
import { App, type NodePage } from "./app.js";
import { Frame } from "./frame.js";
import { forget, keep, keptKey } from "./key.js";
import { signIn } from "./signin.js";

/** What the node says of its page: `sterna dev` gives a key, for browsers on its machine. */
async function nodePage(): Promise<NodePage> {
  try {
    const answer = await fetch("node.json", { credentials: "omit", cache: "no-store" });
    return answer.ok ? await answer.json() : {};
  } catch {
    // It will be heard of soon enough that the node does not answer.
    return {};
  }
}

async function start(): Promise<void> {
  const page = await nodePage();
  const ask = (reason?: Failure) => {
    document.body.replaceChildren(
      element(
        "main",
        { id: "main", className: "out" },
        signIn((key) => {
          keep(key);
          enter(key);
        }, reason),
      ),
    );
    document.title = "Sterna console";
    document.getElementById("key")?.focus();
  };
  const enter = (key: string) => {
    const app = new App(key, page);
    const frame = new Frame(app);
    const leave = (reason?: Failure) => {
      frame.end();
      app.end();
      forget();
      ask(reason);
    };
    frame.addEventListener("leave", () => leave());
    app.addEventListener("refused", (event) => leave((event as CustomEvent<Failure>).detail));
  };
  const key = keptKey() || page.key;
  if (key) enter(key);
  else ask();
}

start();
