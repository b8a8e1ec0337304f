// What a reader arranges a table with: a search, a filter under each column's head, heads that sort.

import {
  type Arrangement, type Filter, filtered, isPlain, PLAIN, pressed, TEXT_CHARACTERS_MAX,
} from "../model/arrangement.js";
import { labelOf } from "../model/formats.js";
import type { Column, Kind } from "../model/messages.js";
import type { Slot } from "../model/placement.js";
import { button } from "./footer.js";
import { columnAt, createLine } from "./line.js";

/** After the last key a reader waits so long, in ms, before the kernel is asked. */
const TYPING_MS = 120;

const HINTS: Partial<Record<Kind, string>> = {
  integer: ">5, 1..9",
  float: ">5, 1..9",
  number: ">5, 1..9",
  datetime: ">2026-01",
  boolean: "true",
};

const HELP =
  "x: holds x · =x: is x · != · null, !null · numbers and times: <, <=, >, >=, from..to";

export interface Tools {
  /** Beside the title. */
  element: HTMLElement;
  /** The row of filters, for the table's head. */
  row: HTMLTableRowElement;
  /** px that the row takes. */
  rowPx: () => number;
  /** Take an arrangement over, for columns that changed. */
  restore: (arrangement: Arrangement, columns: readonly Column[]) => void;
  /** Hold the filters of these. */
  fit: (slots: readonly Slot[]) => void;
  sortBy: (column: number, adds: boolean) => void;
  /** Let a column's filter say `text`; when it does already, take it away. */
  filterBy: (column: number, text: string) => void;
  focusSearch: () => void;
  focusFilter: (column: number) => void;
  setEnabled: (isEnabled: boolean) => void;
}

/** `changed` is called when the reader wants another arrangement; `leave` gives the table the focus. */
export function createTools(changed: (arrangement: Arrangement) => void, leave: () => void, signal: AbortSignal): Tools {
  let arrangement = PLAIN;
  let columns: readonly Column[] = [];
  let slots: readonly Slot[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;

  const element = document.createElement("div");
  element.className = "livedb-tools";
  element.dataset["lmSuppressShortcuts"] = "true"; // JupyterLab: what is typed here is no command
  const search = element.appendChild(input("search"));
  search.type = "search";
  search.setAttribute("aria-label", "search all columns");
  search.title = "Rows of which some cell holds this text ( / )";
  const toggle = element.appendChild(button("filter", "A filter under each column ( f )"));
  const clear = element.appendChild(button("clear", "All rows, as they come"));
  const row = document.createElement("tr");
  row.className = "livedb-filters";
  row.setAttribute("role", "row");
  row.hidden = true;

  const arrange = (next: Arrangement): void => {
    arrangement = next;
    clear.hidden = isPlain(next);
    changed(next);
  };

  /** Of all that is typed: a reader goes on to the next filter before the last one was asked for. */
  const arrangeAsTyped = (): void => {
    const { sorts } = arrangement;
    const typed = [...row.querySelectorAll("input")].map((each): Filter => [columnAt(each) ?? -1, each.value]);
    const filters = typed.reduce<readonly Filter[]>((all, [at, text]) => filtered(all, at, text), arrangement.filters);
    arrange({ sorts, filters, search: search.value.trim().slice(0, TEXT_CHARACTERS_MAX) });
  };

  const arrangeSoon = (): void => {
    clearTimeout(timer);
    timer = setTimeout(arrangeAsTyped, TYPING_MS);
  };

  const line = createLine(row, (at) => {
    const column = columns[at];
    const cell = document.createElement("td");
    cell.setAttribute("role", "gridcell");
    const filter = cell.appendChild(input(HINTS[column?.kind ?? "text"] ?? ""));
    filter.setAttribute("aria-label", `filter ${labelOf(column)}`);
    filter.title = HELP;
    filter.value = arrangement.filters.find(([each]) => each === at)?.[1] ?? "";
    return cell;
  });

  const fit: Tools["fit"] = (next) => {
    slots = next;
    line.fit(row.hidden ? [] : slots);
  };

  const show = (isShown: boolean): void => {
    row.hidden = !isShown;
    toggle.setAttribute("aria-pressed", String(isShown));
    fit(slots);
    if (isShown) return;
    arrange({ ...arrangement, filters: [] }); // what is not in sight is not in effect
  };

  const inputAt = (column: number): HTMLInputElement | null => line.cellOf(column)?.querySelector("input") ?? null;

  row.addEventListener("input", arrangeSoon, { signal });
  search.addEventListener("input", arrangeSoon, { signal });
  toggle.addEventListener("click", () => show(row.hidden !== false), { signal });
  clear.addEventListener("click", () => {
    search.value = "";
    for (const each of row.querySelectorAll("input")) each.value = "";
    clearTimeout(timer);
    arrange(PLAIN);
    leave();
  }, { signal });
  for (const each of [element, row]) {
    each.addEventListener("keydown", (event) => {
      event.stopPropagation(); // neither the table's keys nor the notebook's
      if (event.key === "Escape" || event.key === "Enter") {
        event.preventDefault();
        leave();
      }
    }, { signal });
  }
  signal.addEventListener("abort", () => clearTimeout(timer));
  clear.hidden = true;

  return {
    element,
    row,
    rowPx: () => (row.hidden ? 0 : FILTERS_PX),
    restore: (next, nextColumns) => {
      arrangement = next;
      columns = nextColumns;
      clear.hidden = isPlain(next);
      line.fit([]);
    },
    fit,
    sortBy: (column, adds) => arrange({ ...arrangement, sorts: pressed(arrangement.sorts, column, adds) }),
    filterBy: (column, text) => {
      clearTimeout(timer);
      const known = arrangement.filters.find(([each]) => each === column)?.[1];
      const next = known === text ? "" : text;
      const filter = inputAt(column);
      if (filter !== null) filter.value = next;
      arrange({ ...arrangement, filters: filtered(arrangement.filters, column, next) });
    },
    focusSearch: () => search.focus(),
    focusFilter: (column) => {
      if (row.hidden) show(true);
      inputAt(column)?.focus();
    },
    setEnabled: (isEnabled) => {
      for (const each of [search, toggle, clear, ...row.querySelectorAll("input")]) each.disabled = !isEnabled;
    },
  };
}

/** Height of the row of filters, as in table.css. */
const FILTERS_PX = 28;

function input(placeholder: string): HTMLInputElement {
  const element = document.createElement("input");
  element.placeholder = placeholder;
  element.spellcheck = false;
  element.autocomplete = "off";
  element.maxLength = TEXT_CHARACTERS_MAX;
  return element;
}
