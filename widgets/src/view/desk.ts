// What a reader works a table with: search, filters, sorts, heads of columns, their places, edits. The
// table is whole without it, and the page has it a moment after the first rows (model/parts.ts).

import type { Arrangement } from "../model/arrangement.js";
import type { Column } from "../model/messages.js";
import type { Placement, Slot } from "../model/placement.js";
import type { Row } from "../model/rows.js";
import type { Store, View } from "../model/store.js";
import { createPlacer } from "./columns.js";
import type { Dom } from "./dom.js";
import { createDocuments } from "./documents.js";
import { createEditor, type Place } from "./editor.js";
import { createHeads } from "./heads.js";
import { createReferences } from "./references.js";
import { createSelection } from "./selection.js";
import { createTools } from "./tools.js";

/** Columns of which the kernel tells what they hold, as in livedb/notebook/profiling.py. */
const PROFILED_MAX = 64;

/** ms that the columns in sight must stay the same before the kernel is asked about them. */
const SIDEWAYS_MS = 100;

/** How an id looks, also in a field that is not declared as one (spec: 31 to 37 of these). */
const ID = /^[0-9a-hjkmnp-tv-z]{31,37}$/;

/** Rows from which on the heads are shown although nobody asked for them. */
const WORTH_HEADS_ROWS = 16;

/** The table that a desk stands at. */
export interface Grid {
  dom: Dom;
  store: Store;
  view: View;
  signal: AbortSignal;
  columns: () => readonly Column[];
  placement: () => Placement;
  place: (placement: Placement) => void;
  arrange: (arrangement: Arrangement) => void;
  /** The columns that the page holds. */
  slots: () => readonly Slot[];
  /** px of the columns in sight. */
  viewPx: () => number;
  /** The active cell; null while its row is on its way. */
  active: () => { row: Row; column: number } | null;
  step: (columns: number) => void;
  /** Position of the active row. */
  at: () => number;
  /** Go down so many rows; the position there. */
  stepRows: (rows: number) => number;
  activate: (column: number) => void;
  cellOf: (place: Place) => HTMLElement | null;
  focus: () => void;
  redraw: () => void;
}

export interface Desk {
  /** px of the rows under the names of the columns. */
  rowsPx: () => number;
  setColumns: (columns: readonly Column[], arrangement: Arrangement) => void;
  fit: (slots: readonly Slot[]) => void;
  /** Draw what depends on the state; called before the rows are drawn. */
  draw: () => void;
  /** Called when the rows were drawn. */
  placed: () => void;
  /** A column's name was pressed. */
  press: (column: number, adds: boolean) => void;
  /** A row was pressed; called before it is the active one. */
  pressRow: (at: number, event: MouseEvent) => void;
  /** The active cell is another one. */
  moved: () => void;
  /** Keys of the rows that are selected besides the active one. */
  selected: () => ReadonlySet<string>;
  /** Put the rows that are selected on the clipboard; false if there are none. */
  copy: (data: DataTransfer) => boolean;
  /** What a key does; undefined for one that is none of its own. */
  key: (event: KeyboardEvent, column: number) => (() => void) | undefined;
}

export type CreateDesk = (grid: Grid) => Desk;

export const createDesk: CreateDesk = (grid) => {
  const { dom, store, view, signal } = grid;
  let profiledFor = "";
  let isRanging = false;
  let sidewaysTimer: ReturnType<typeof setTimeout> | undefined;

  const tools = createTools(grid.arrange, grid.focus, signal);
  const heads = createHeads((column, text) => tools.filterBy(column, text), grid.redraw, grid.focus, signal);
  const placer = createPlacer(grid);
  dom.head.after(heads.row, tools.row);

  const editor = createEditor({
    frame: dom.frame,
    said: dom.said,
    send: (step) => store.edit(step),
    cellOf: grid.cellOf,
    columnName: (column) => grid.columns()[column]?.name ?? "",
    number: () => store.state()?.number ?? -1,
    leave: (steps) => {
      grid.focus();
      if (steps !== 0) grid.step(steps);
    },
  }, signal);

  const selection = createSelection(grid, editor.say);
  const documents = createDocuments(grid, selection.keys, selection.clear, editor.say);
  tools.element.append(heads.toggle, placer.toggle, selection.toggle, documents.add, documents.remove);
  dom.bar.append(tools.element);
  const references = createReferences(grid, editor.say);
  dom.bar.after(placer.panel, selection.panel, documents.panel, references.panel);
  dom.table.setAttribute("aria-multiselectable", "true");

  /** The active cell, if it can be edited. */
  const editable = (): (Place & { text: string }) | null => {
    const active = grid.active();
    if (active === null || !store.isEditable() || store.state()?.shape !== "rows") return null;
    const { row, column } = active;
    const cell = row.cells[column];
    const isOwn = grid.columns()[column]?.name.startsWith("_") ?? true; // livedb's own
    if (cell === undefined || isOwn) return null;
    return { key: row.key, column, text: cell.dim ? "" : cell.title || cell.text };
  };

  /** Show the document that the active cell names, or open the page that it links to. */
  const follow = (): void => {
    const active = grid.active();
    const cell = active?.row.cells[active.column];
    if (cell?.look?.href != null) window.open(cell.look.href, "_blank", "noopener,noreferrer");
    const text = cell === undefined || cell.dim ? "" : cell.title || cell.text;
    if (ID.test(text)) references.open(text);
  };

  const edit = (): void => {
    const place = editable();
    if (place !== null) editor.begin(place, place.text);
  };

  const clearCell = (): void => {
    const place = editable();
    if (place !== null) editor.clear(place);
  };

  const isAnswered = (): boolean => ["live", "waiting"].includes(store.status());

  const draw = (): void => {
    const state = store.state();
    const isTable = state?.shape === "rows" && state.columns.length > 0;
    tools.element.hidden = !isTable;
    if (!isTable) placer.close();
    tools.setEnabled(isAnswered());
    selection.draw(isAnswered());
    documents.draw(isAnswered());
    heads.suggest(isTable && state.rowCount >= WORTH_HEADS_ROWS);
  };

  const placed = (): void => {
    const isLive = isAnswered() && (view.window?.sequence ?? -1) >= 0;
    heads.draw(view.profiles, view.arrangement.filters, isLive);
    if (isLive) askProfiles();
    editor.place();
  };

  /** Have the kernel tell what the columns in sight hold, and nothing of those that are not. */
  const askProfiles = (): void => {
    const wanted = heads.rowPx() === 0 ? [] : columnsInSight();
    if (wanted.join() === profiledFor) return;
    profiledFor = wanted.join();
    clearTimeout(sidewaysTimer);
    sidewaysTimer = setTimeout(() => store.askProfiles(view, wanted), SIDEWAYS_MS);
  };

  const columnsInSight = (): number[] => {
    const { scrollLeft } = dom.scroller;
    const end = scrollLeft + grid.viewPx();
    let left = 0;
    const inSight = grid.slots().flatMap(({ column, px, leftPx }) => {
      left += px;
      return column >= 0 && (leftPx !== null || (left > scrollLeft && left - px < end)) ? [column] : [];
    });
    return inSight.slice(0, PROFILED_MAX);
  };

  const press = (column: number, adds: boolean): void => {
    if (!tools.element.hidden && !placer.hasDragged()) tools.sortBy(column, adds);
  };

  /** Shift with an arrow key selects the rows that it goes over. */
  const extending = (event: KeyboardEvent): (() => void) | undefined => {
    const steps = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (steps === undefined) return undefined;
    return () => {
      selection.press(grid.at(), event);
      isRanging = true;
      selection.press(grid.stepRows(steps), event);
    };
  };

  const key: Desk["key"] = (event, column) => {
    const keys: Record<string, () => void> = {
      s: () => tools.sortBy(column, false),
      S: () => tools.sortBy(column, true),
      f: () => tools.focusFilter(column),
      v: () => heads.focus(column),
      "/": tools.focusSearch,
      Enter: edit,
      F2: edit,
      Delete: clearCell,
      o: follow,
      " ": selection.mark,
      ...placer.keys(column),
    };
    if (selection.keys().size > 0) keys["Escape"] = selection.clear;
    if (isAnswered()) keys["e"] = selection.showExport;
    if (isAnswered() && store.isEditable()) keys["a"] = documents.showAdd;
    if (isAnswered() && store.isEditable() && selection.keys().size > 0) keys["Delete"] = documents.showRemove;
    if (event.shiftKey && event.key.startsWith("Arrow")) return extending(event);
    const turns: Record<string, () => void> = { z: editor.undo, Z: editor.redo, y: editor.redo };
    if (tools.element.hidden) return undefined;
    const isControl = event.ctrlKey || event.metaKey;
    if (isControl && event.key === "a") return selection.all;
    if (isControl) return store.isEditable() ? turns[event.key] : undefined;
    return keys[event.key];
  };

  dom.table.addEventListener("dblclick", (event) => {
    if ((event.target as Element | null)?.closest("tbody") != null) edit();
  }, { signal });
  dom.body.addEventListener("click", (event) => {
    if ((event.target as Element | null)?.matches("td[data-kind='id'] :is(span, img)")) follow();
  }, { signal });
  signal.addEventListener("abort", () => clearTimeout(sidewaysTimer));

  return {
    rowsPx: () => heads.rowPx() + tools.rowPx(),
    setColumns: (columns, arrangement) => {
      view.profiles.clear();
      profiledFor = "";
      heads.setColumns(columns);
      tools.restore(arrangement, columns);
      placer.draw();
      documents.setColumns();
    },
    fit: (slots) => {
      heads.fit(slots);
      tools.fit(slots);
    },
    draw,
    placed,
    press,
    pressRow: (at, event) => {
      isRanging = event.shiftKey;
      selection.press(at, event);
    },
    moved: () => {
      selection.moved(isRanging);
      isRanging = false;
    },
    selected: selection.keys,
    copy: selection.copy,
    key,
  };
};
