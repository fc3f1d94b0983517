// Publications a second in Chromium, from the bytes of a WebSocket to what the application reads: this
// client beside centrifuge's protobuf build, in turns, in one page.
import { browse, bundled, HTML, median, open } from "./browser.mjs";

const [COUNT, ROUNDS] = [10_000, 60];

const files = {
  "/": ["text/html", HTML("/bench.js")],
  "/bench.js": ["text/javascript", await bundled("decode-page.ts")],
};
const rates = await browse(files, async (browser, origin) => {
  const page = await open(browser, origin);
  return page.evaluate(([count, rounds]) => window.bench.race(count, rounds), [COUNT, ROUNDS]);
});
// The best round of each: collections of garbage, the compiler and others on the machine make all others. Beside
// it the median of rounds that were neighbours.
const rows = Object.entries(rates).map(([client, all]) => ({
  client,
  perSecond: Math.round(Math.max(...all)),
  median: Math.round(median(all)),
}));
const [ours, theirs] = rows;
const ratio = {
  best: Number((ours.perSecond / theirs.perSecond).toFixed(2)),
  neighbours: Number(
    median(rates.sterna.map((rate, at) => rate / rates.centrifuge[at])).toFixed(2),
  ),
};
if (process.argv.includes("--json")) console.log(JSON.stringify({ rows, ratio }));
else {
  console.table(rows);
  console.log("ratio:", ratio);
}
