// A line chart of the last 15 minutes: the present value large, an axis that can be read, and a cursor
// by pointer or by arrow keys that all charts of a screen share. Lines differ by dash and by name, not
// by colour alone.
import { drawn, element } from "../../shared/element.js";
import { clock, count, duration } from "./format.js";
import type { Series } from "./model.js";

const HEIGHT = 132;
/** Room for the figures at the right and the times at the bottom. */
const RIGHT = 44;
const BOTTOM = 18;
const TOP = 6;
/** Until nobody has said how wide it is. */
const WIDTH = 320;
const TICK_MS = 5 * 60_000;
/** A line that has ended as many points ago has no present value. */
const RECENT = 4;

/** The moment that all charts of a screen show; none: the present. */
export class Cursor extends EventTarget {
  #at: number | undefined;

  get at(): number | undefined {
    return this.#at;
  }

  /** A Unix time in milliseconds. */
  set(at: number | undefined): void {
    if (at === this.#at) return;
    this.#at = at;
    this.dispatchEvent(new Event("move"));
  }
}

export interface ChartOptions {
  readonly title: string;
  /** What the lines are; one: its name is the title. */
  readonly lines: readonly string[];
  readonly unit?: string;
  readonly help: string;
  readonly format?: (value: number | null) => string;
}

export class Chart {
  readonly element: HTMLElement;
  readonly #svg = drawn("svg", { class: "plot", tabindex: 0, role: "slider", height: HEIGHT });
  readonly #large = element("strong", {});
  readonly #when = element("span", { className: "when" }, "now");
  readonly #legend: readonly HTMLElement[];
  readonly #cursor: Cursor;
  readonly #options: ChartOptions;
  #width = WIDTH;
  #end = 0;
  #every = 5000;
  #lines: readonly Series[] = [];

  constructor(options: ChartOptions, cursor: Cursor) {
    this.#options = options;
    this.#cursor = cursor;
    this.#legend = options.lines.map(() => element("b", {}));
    const legend = element("ul", { className: "legend" });
    if (options.lines.length > 1) legend.append(...this.#legendItems());
    this.element = element(
      "figure",
      { className: "chart", title: options.help },
      element(
        "figcaption",
        {},
        element("h3", {}, options.title),
        element("p", { className: "large" }, this.#large, ` ${options.unit ?? ""}`),
        this.#when,
      ),
      legend,
    );
    legend.before(this.#svg);
    this.#svg.ariaLabel = options.title;
    this.#listen();
  }

  /** Lines of as many points each, the last at `end`. */
  draw(end: number, every: number, lines: readonly Series[]): void {
    this.#end = end;
    this.#every = every;
    this.#lines = lines;
    this.#render();
  }

  get #points(): number {
    return Math.max(2, ...this.#lines.map((line) => line.length));
  }

  #legendItems(): HTMLElement[] {
    return this.#options.lines.map((name, at) => {
      const sample = drawn("svg", { class: "sample", width: 22, height: 8, "aria-hidden": "true" });
      sample.append(drawn("line", { class: `line line${at}`, x1: 0, y1: 4, x2: 22, y2: 4 }));
      return element("li", {}, sample, ` ${name} `, this.#legend[at] as HTMLElement);
    });
  }

  #listen(): void {
    const svg = this.#svg;
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry?.contentRect.width ?? 0);
      if (width > 0 && width !== this.#width) {
        this.#width = width;
        this.#render();
      }
    }).observe(svg);
    svg.addEventListener("pointermove", (event) => this.#point(event));
    svg.addEventListener("pointerdown", (event) => this.#point(event));
    svg.addEventListener("pointerleave", () => this.#cursor.set(undefined));
    svg.addEventListener("blur", () => this.#cursor.set(undefined));
    svg.addEventListener("keydown", (event) => this.#key(event));
    this.#cursor.addEventListener("move", () => this.#render());
  }

  #point(event: PointerEvent): void {
    const share = (event.clientX - this.#svg.getBoundingClientRect().left) / (this.#width - RIGHT);
    this.#moveTo(Math.round(share * (this.#points - 1)));
  }

  #key(event: KeyboardEvent): void {
    const last = this.#points - 1;
    const at = this.#at ?? last;
    const moves: Record<string, number | undefined> = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowDown: at - 1,
      ArrowUp: at + 1,
      PageDown: at - 12,
      PageUp: at + 12,
      Home: 0,
      End: last,
    };
    if (event.key === "Escape") this.#cursor.set(undefined);
    else if (moves[event.key] !== undefined) this.#moveTo(moves[event.key] as number);
    else return;
    event.preventDefault();
  }

  #moveTo(at: number): void {
    const last = this.#points - 1;
    this.#cursor.set(this.#end - (last - Math.max(0, Math.min(last, at))) * this.#every);
  }

  /** The point under the cursor. */
  get #at(): number | undefined {
    const at = this.#cursor.at;
    if (at === undefined) return undefined;
    const last = this.#points - 1;
    return Math.max(0, Math.min(last, last - Math.round((this.#end - at) / this.#every)));
  }

  #render(): void {
    const top = niceTop(Math.max(0, ...this.#lines.flat().map((value) => value ?? 0)));
    const right = this.#width - RIGHT;
    const x = (at: number) => (at / (this.#points - 1)) * right;
    const y = (value: number) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
    const parts: SVGElement[] = [...this.#axis(top, y), ...this.#times(x)];
    const size = { x, y, right };
    this.#lines.forEach((line, index) => {
      parts.push(...path(line, index, size, this.#lines.length === 1));
    });
    parts.push(...this.#mark(x, y));
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.#svg.replaceChildren(...parts);
    this.#tell();
  }

  #axis(top: number, y: (value: number) => number): SVGElement[] {
    return [0, top / 2, top].flatMap((value) => [
      drawn("line", { class: "grid", x1: 0, x2: this.#width - RIGHT, y1: y(value), y2: y(value) }),
      drawn("text", { x: this.#width - RIGHT + 6, y: y(value) + 4 }, label(value)),
    ]);
  }

  /** At full five minutes of the clock, as other tools name them. */
  #times(x: (at: number) => number): SVGElement[] {
    const last = this.#points - 1;
    const begin = this.#end - last * this.#every;
    const marks: SVGElement[] = [];
    for (let at = Math.ceil(begin / TICK_MS) * TICK_MS; at <= this.#end; at += TICK_MS) {
      const place = x((at - begin) / this.#every);
      const anchor = place < 18 ? "start" : "middle";
      marks.push(
        drawn("line", { class: "grid", x1: place, x2: place, y1: TOP, y2: HEIGHT - BOTTOM }),
        drawn("text", { x: place, y: HEIGHT - 4, "text-anchor": anchor }, clock(at, false)),
      );
    }
    return this.#end > 0 ? marks : [];
  }

  #mark(x: (at: number) => number, y: (value: number) => number): SVGElement[] {
    const at = this.#at;
    if (at === undefined) return [];
    const height = { y1: TOP, y2: HEIGHT - BOTTOM };
    const dots = this.#lines.flatMap((line, index) => {
      const value = line[at] ?? null;
      if (value === null) return [];
      return [drawn("circle", { class: `dot line${index}`, cx: x(at), cy: y(value), r: 3.5 })];
    });
    return [drawn("line", { class: "cursor", x1: x(at), x2: x(at), ...height }), ...dots];
  }

  /** Puts the values at the cursor, or the present ones, into words. */
  #tell(): void {
    const { lines, format = count, unit = "", title } = this.#options;
    const at = this.#at;
    const values = this.#lines.map((line) => (at === undefined ? present(line) : line[at]) ?? null);
    const known = values.filter((value) => value !== null);
    const sum = known.length > 0 ? known.reduce((a, b) => a + b, 0) : null;
    this.#large.textContent = format(lines.length > 1 ? sum : (values[0] ?? null));
    values.forEach((value, index) => {
      const cell = this.#legend[index];
      if (cell) cell.textContent = format(value);
    });
    const last = this.#points - 1;
    const when =
      at === undefined
        ? "now"
        : `${clock(this.#end - (last - at) * this.#every)}, ${duration(((last - at) * this.#every) / 1000)} ago`;
    this.#when.textContent = when;
    const named = values.map((value, index) => `${lines[index] ?? title} ${format(value)} ${unit}`);
    const svg = this.#svg;
    svg.ariaValueMin = "0";
    svg.ariaValueMax = String(last);
    svg.ariaValueNow = String(at ?? last);
    svg.ariaValueText = `${when}: ${named.join(", ")}`;
  }
}

interface Size {
  readonly x: (at: number) => number;
  readonly y: (value: number) => number;
}

/** A line with holes where nothing was heard; alone, with a shade below it. */
function path(line: Series, index: number, { x, y }: Size, isAlone: boolean): SVGElement[] {
  const runs: [number, number][][] = [];
  line.forEach((value, at) => {
    if (value === null) return;
    if (at === 0 || (line[at - 1] ?? null) === null) runs.push([]);
    runs.at(-1)?.push([x(at), y(value)]);
  });
  return runs.flatMap((run) => {
    const [first, last] = [run[0], run.at(-1)];
    if (!first || !last) return [];
    if (run.length === 1)
      return [drawn("circle", { class: `dot line${index}`, cx: first[0], cy: first[1], r: 2 })];
    const points = run.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L");
    const stroke = drawn("path", { class: `line line${index}`, d: `M${points}` });
    if (!isAlone) return [stroke];
    const floor = y(0);
    const shade = `M${first[0]} ${floor}L${points}L${last[0]} ${floor}Z`;
    return [drawn("path", { class: `shade line${index}`, d: shade }), stroke];
  });
}

function present(line: Series): number | null {
  for (let at = line.length - 1; at >= Math.max(0, line.length - RECENT); at--) {
    const value = line[at] ?? null;
    if (value !== null) return value;
  }
  return null;
}

/** The smallest round figure that holds a value and has a round half. */
function niceTop(value: number): number {
  if (value <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * ([1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].find((step) => step * unit >= value) ?? 10);
}

const label = (value: number): string =>
  value >= 1000 || Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(2)));
