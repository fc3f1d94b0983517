// A table that lives: its rows keep their elements while their figures change, so that focus and
// selection stay. Columns sort; on a narrow screen each row becomes a card.
import { element } from "../../shared/element.js";

export interface Cell {
  readonly text: string;
  /** Where it leads, within the page. */
  readonly href?: string | undefined;
  readonly tone?: "good" | "warn" | "bad" | "faint" | undefined;
  /** All of it, where the text is short for it. */
  readonly title?: string | undefined;
}

export interface Column<Row> {
  readonly title: string;
  /** What the title is short for. */
  readonly help?: string;
  readonly cell: (row: Row) => Cell | string;
  /** Figures stand under each other, unit under unit. */
  readonly isFigure?: boolean;
  /** Makes the column sort; figures the largest first. */
  readonly by?: (row: Row) => number | string;
}

interface Shown {
  readonly element: HTMLTableRowElement;
  readonly cells: readonly HTMLTableCellElement[];
}

export class Table<Row> {
  readonly element: HTMLElement;
  readonly #columns: readonly Column<Row>[];
  readonly #key: (row: Row) => string;
  readonly #body = element("tbody");
  readonly #heads: readonly HTMLTableCellElement[];
  readonly #empty: HTMLElement;
  readonly #shown = new Map<string, Shown>();
  #rows: readonly Row[] = [];
  #sort: { column: Column<Row>; isReversed: boolean } | undefined;

  constructor(
    label: string,
    columns: readonly Column<Row>[],
    key: (row: Row) => string,
    empty: string,
  ) {
    this.#columns = columns;
    this.#key = key;
    this.#heads = columns.map((column) => this.#head(column));
    this.#empty = element("p", { className: "empty" }, empty);
    const head = element("thead", {}, element("tr", {}, ...this.#heads));
    const table = element("table", { ariaLabel: label }, head, this.#body);
    this.element = element("div", { className: "table" }, table, this.#empty);
  }

  show(rows: readonly Row[]): void {
    this.#rows = rows;
    this.#render();
  }

  #head(column: Column<Row>): HTMLTableCellElement {
    const head = element("th", { scope: "col", title: column.help ?? "" });
    head.classList.toggle("figure", column.isFigure ?? false);
    if (!column.by) {
      head.append(column.title);
      return head;
    }
    const button = element("button", { type: "button" }, column.title);
    button.addEventListener("click", () => {
      const isReversed = this.#sort?.column === column && !this.#sort.isReversed;
      this.#sort = { column, isReversed };
      this.#heads.forEach((other, at) => {
        const isThis = this.#columns[at] === column;
        other.ariaSort = isThis ? direction(this.#rows, column, isReversed) : null;
      });
      this.#render();
    });
    head.append(button);
    return head;
  }

  #render(): void {
    const rows = this.#sorted();
    const keys = new Set<string>();
    rows.forEach((row, at) => {
      // Two rows of one name are two rows.
      let key = this.#key(row);
      while (keys.has(key)) key += "'";
      keys.add(key);
      const shown = this.#shown.get(key) ?? this.#add(key);
      this.#columns.forEach((column, index) => {
        const cell = shown.cells[index];
        const value = column.cell(row);
        if (cell) fill(cell, typeof value === "string" ? { text: value } : value);
      });
      // Only what has changed its place is moved: moving takes the focus away.
      const there = this.#body.children[at];
      if (there !== shown.element) this.#body.insertBefore(shown.element, there ?? null);
    });
    for (const [key, shown] of this.#shown) {
      if (keys.has(key)) continue;
      shown.element.remove();
      this.#shown.delete(key);
    }
    this.#empty.hidden = rows.length > 0;
  }

  #sorted(): readonly Row[] {
    const { column, isReversed } = this.#sort ?? {};
    const by = column?.by;
    if (!by) return this.#rows;
    const sign = isReversed ? -1 : 1;
    return [...this.#rows].sort((a, b) => {
      const [x, y] = [by(a), by(b)];
      if (typeof x === "number" && typeof y === "number") return (y - x) * sign;
      return String(x).localeCompare(String(y)) * sign;
    });
  }

  #add(key: string): Shown {
    const cells = this.#columns.map((column, at) => {
      const cell = element("td");
      if (at === 0) cell.className = "name";
      else if (column.isFigure) cell.className = "figure";
      cell.dataset.label = column.title;
      return cell;
    });
    const shown = { element: element("tr", {}, ...cells), cells };
    this.#shown.set(key, shown);
    return shown;
  }
}

function direction<Row>(rows: readonly Row[], { by }: Column<Row>, isReversed: boolean): string {
  const isText = rows.some((row) => typeof by?.(row) === "string");
  return isText !== isReversed ? "ascending" : "descending";
}

function fill(place: HTMLTableCellElement, { text, href, tone, title }: Cell): void {
  place.dataset.tone = tone ?? "";
  if (place.title !== (title ?? "")) place.title = title ?? "";
  const link = place.firstElementChild;
  if (href) {
    if (!(link instanceof HTMLAnchorElement)) place.replaceChildren(element("a", { href }, text));
    else if (link.textContent !== text || link.getAttribute("href") !== href) {
      link.href = href;
      link.textContent = text;
    }
  } else if (link || place.textContent !== text) place.textContent = text;
}
