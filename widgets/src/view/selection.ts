// Which rows a reader has selected, and what is done with them: read in the kernel, copied, written to
// a file. With none selected it is the active row, as in a list of files.

import type { Format } from "../model/messages.js";
import type { Row } from "../model/rows.js";
import type { Grid } from "./desk.js";
import { button } from "./footer.js";
import { createPanel } from "./panel.js";
import { saveFile } from "./save.js";

/** As in livedb/notebook/selection.py. */
const SELECTED_MAX = 10_000;

/** ms that a selection must stay the same before the kernel hears of it. */
const TELLING_MS = 60;

const FORMATS: readonly [Format, string][] = [["csv", "CSV"], ["parquet", "Parquet"], ["arrow", "Arrow"]];

export interface Selection {
  toggle: HTMLButtonElement;
  panel: HTMLElement;
  /** Keys of the rows that were selected; none if it is the active one. */
  keys: () => ReadonlySet<string>;
  /** A row was pressed, or a key went to it. */
  press: (at: number, event: MouseEvent | KeyboardEvent) => void;
  /** Select the active row, or no longer. */
  mark: () => void;
  all: () => void;
  /** Select none; false if there was none. */
  clear: () => boolean;
  copy: (data: DataTransfer) => boolean;
  showExport: () => void;
  draw: (isEnabled: boolean) => void;
  /** The active row is another one; the next range starts there unless this move made one. */
  moved: (inRange: boolean) => void;
}

export function createSelection(grid: Grid, say: (text: string) => void): Selection {
  const { store, view, signal } = grid;
  let marked = new Set<string>();
  /** Position from which a range is selected. */
  let anchor: number | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let told = "";

  const toggle = button("export", "Write the rows to a file ( e )");
  toggle.setAttribute("aria-expanded", "false");
  const panel = createPanel("export", () => {
    show(false);
    grid.focus();
  }, signal);
  const what = panel.appendChild(document.createElement("span"));
  for (const [format, name] of FORMATS) {
    const each = panel.appendChild(button(name));
    each.addEventListener("click", () => void save(format), { signal });
  }

  const rowAt = (at: number): Row | undefined => view.window?.rows[at - (view.window?.start ?? 0)];

  /** The row and the column that the active cell is in; null while its row is on its way. */
  const activeCell = (): [string, number] | null => {
    const active = grid.active();
    return active === null ? null : [active.row.key, active.column];
  };

  const change = (keys: Set<string>): void => {
    marked = keys;
    tell();
    grid.redraw();
  };

  /** Have the kernel know what is selected; the last of many changes is enough. */
  const tell = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const cell = activeCell();
      const keys = marked.size > 0 ? [...marked] : cell === null ? [] : [cell[0]];
      const said = [...keys, cell].join();
      if (said === told) return;
      told = said;
      void store.select(view, keys, cell);
    }, TELLING_MS);
  };

  const range = async (from: number, to: number): Promise<void> => {
    const [start, stop] = [Math.min(from, to), Math.max(from, to) + 1];
    const rows = Array.from({ length: Math.min(stop - start, SELECTED_MAX) }, (_, at) => rowAt(start + at));
    if (rows.every((row) => row !== undefined)) return change(new Set(rows.map((row) => row?.key ?? "")));
    clearTimeout(timer);
    const cell = activeCell();
    const keys = await store.select(view, { start, stop }, cell);
    if (stop - start > keys.length) say(`The first ${keys.length.toLocaleString("en-US")} of them are selected.`);
    marked = new Set(keys);
    told = [...keys, cell].join();
    grid.redraw();
  };

  const press: Selection["press"] = (at, event) => {
    const key = rowAt(at)?.key;
    if (event.shiftKey) {
      anchor ??= grid.active() === null ? at : grid.at();
      return void range(anchor, at);
    }
    const before = grid.active()?.row.key;
    anchor = at;
    if (!(event.ctrlKey || event.metaKey) || key === undefined) {
      if (marked.size > 0) change(new Set());
      return;
    }
    const next = new Set(marked.size === 0 && before !== undefined && before !== key ? [before] : marked);
    if (!next.delete(key)) next.add(key);
    change(next);
  };

  const mark = (): void => {
    const key = grid.active()?.row.key;
    if (key === undefined) return;
    const next = new Set(marked);
    if (!next.delete(key)) next.add(key);
    change(next);
  };

  const clear = (): boolean => {
    anchor = null;
    if (marked.size === 0) return false;
    change(new Set());
    return true;
  };

  /** Those selected that the page holds, in their order. */
  const held = (): Row[] => (view.window?.rows ?? []).filter(({ key }) => marked.has(key));

  const textOf = (row: Row): string =>
    grid.placement().shown.map((column) => {
      const cell = row.cells[column];
      return cell === undefined || cell.dim ? "" : (cell.title || cell.text).replace(/[\t\r\n]/g, " ");
    }).join("\t");

  const copy: Selection["copy"] = (data) => {
    if (marked.size === 0) return false;
    const rows = held();
    if (rows.length === marked.size) data.setData("text/plain", rows.map(textOf).join("\n"));
    else void copyAll();
    return true;
  };

  /** Rows that the page does not hold come from the kernel. */
  const copyAll = async (): Promise<void> => {
    try {
      const file = await store.file(view, "tsv", grid.placement().shown, true);
      await navigator.clipboard.writeText(await file.text());
      say(`Copied ${marked.size.toLocaleString("en-US")} rows.`);
    } catch (error) {
      say(String((error as Error).message));
    }
  };

  const save = async (format: Format): Promise<void> => {
    if (panel.ariaBusy === "true") return;
    panel.ariaBusy = "true"; // a button that is disabled loses the focus
    try {
      const file = await store.file(view, format, grid.placement().shown, marked.size > 0);
      saveFile(file);
      say(`Wrote ${file.name}.`);
    } catch (error) {
      say(String((error as Error).message));
    }
    panel.ariaBusy = "false";
  };

  const show = (isShown: boolean): void => {
    panel.hidden = !isShown;
    toggle.setAttribute("aria-expanded", String(isShown));
    count();
    if (isShown) panel.querySelector("button")?.focus();
  };

  const draw: Selection["draw"] = (isEnabled) => {
    for (const each of [toggle, ...panel.querySelectorAll("button")]) each.disabled = !isEnabled;
    count();
  };

  /** Say how many rows are written. */
  const count = (): void => {
    if (panel.hidden) return;
    const rows = marked.size > 0 ? marked.size : (view.window?.count ?? store.state()?.rowCount ?? 0);
    const words = `${rows.toLocaleString("en-US")} ${marked.size > 0 ? "selected " : ""}row${rows === 1 ? "" : "s"} as`;
    if (what.textContent !== words) what.textContent = words;
  };

  toggle.addEventListener("click", () => show(panel.hidden !== false), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));

  return {
    toggle,
    panel,
    keys: () => marked,
    press,
    mark,
    all: () => void range(0, (view.window?.count ?? store.state()?.rowCount ?? 1) - 1),
    clear,
    copy,
    showExport: () => show(true),
    draw,
    moved: (inRange) => {
      if (!inRange) anchor = null;
      tell();
    },
  };
}
