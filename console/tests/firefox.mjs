// Firefox for the tests of the client, by WebDriver BiDi, which it speaks itself.
import puppeteer from "puppeteer-core";
import { PATIENCE } from "./browser.mjs";

export class Firefox {
  #browser;

  static async launch() {
    const made = new Firefox();
    made.#browser = await puppeteer.launch({
      browser: "firefox",
      executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
      headless: true,
      acceptInsecureCerts: true,
      protocolTimeout: PATIENCE,
    });
    return made;
  }

  /** A page of its own, and what went wrong in it. */
  async open(url) {
    const page = await this.#browser.newPage();
    const trouble = [];
    page.on("pageerror", (error) => trouble.push(`${error}`));
    await page.goto(url);
    return { page, trouble };
  }

  /** Pages of one origin that know of each other, as the tabs of one window do. */
  async tabs(url, count) {
    const context = await this.#browser.createBrowserContext();
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
