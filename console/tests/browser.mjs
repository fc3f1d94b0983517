// Chromium for the tests of the pages; each page with a list of what went wrong in it.
import { chromium } from "playwright-core";

/** How long anything may take, in milliseconds; a machine may be busy. */
export const PATIENCE = 60_000;

export class Browser {
  #browser;

  /** `flags`: of Chromium, beside those that every test needs. */
  static async launch(flags = []) {
    const made = new Browser();
    const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
    made.#browser = await chromium.launch({ executablePath, args: ["--no-sandbox", ...flags] });
    return made;
  }

  /** A page of its own, with nothing kept of others. `key`: as if it had been pasted before. */
  async open(url, { key, ...options } = {}) {
    const context = await this.#browser.newContext(options);
    context.setDefaultTimeout(PATIENCE);
    if (key)
      await context.addInitScript((it) => sessionStorage.setItem("sterna.console.key", it), key);
    const page = await context.newPage();
    const trouble = [];
    page.on("pageerror", (error) => trouble.push(`${error}`));
    page.on("console", (message) => {
      if (/Content Security Policy/.test(message.text())) trouble.push(message.text());
    });
    await page.goto(url);
    page.on("close", () => context.close().catch(() => {}));
    return { page, trouble };
  }

  /** Pages of one origin that know of each other, as the tabs of one window do. */
  async tabs(url, count) {
    const context = await this.#browser.newContext();
    context.setDefaultTimeout(PATIENCE);
    const pages = [];
    for (let at = 0; at < count; at++) {
      const page = await context.newPage();
      await page.goto(url);
      pages.push(page);
    }
    return { pages, close: () => context.close() };
  }

  close() {
    return this.#browser.close();
  }
}
