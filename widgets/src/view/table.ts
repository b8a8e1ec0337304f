// One view of a table: a scroller whose table is pinned to its top, rows drawn for the position.
//
// The table does not move with the scrollbar; on every scroll the rows for that position are drawn
// into it (as regular-table does). So the header needs no second table, nothing blanks during a fast
// scroll, and a scroll range of any height costs the page nothing. Everything is drawn from the
// store's state, once per frame: a late, repeated or skipped message makes no difference.

import { type Fonts, type Layout, layOut, pointPaddingPx } from "../model/columns.js";
import { type Cell, NUMERIC } from "../model/cells.js";
import type { Column, Shape, TableState } from "../model/messages.js";
import { realmId } from "../model/realm.js";
import type { Row, RowWindow } from "../model/rows.js";
import type { Change, Store } from "../model/store.js";
import {
  contentPx, firstRowAfter, firstRowShowing, type Geometry, isEnough, scrollTopOf, visibleRows, windowFor,
} from "../model/window.js";
import { carriedOver, isPlain, isSame } from "../model/arrangement.js";
import { type Active, createBody, type Line } from "./body.js";
import { adviceFor, createFooter, div, setText, standingOf } from "./footer.js";
import { createTools, markSort } from "./tools.js";

const ROW_PX = 26;
const HEAD_PX = 30;
const ROWS_ON_SCREEN_MAX = 15;
const MARGIN_ROWS = 30;
const PAUSE_MS = 16;

let viewCount = 0;

export function createTable(root: HTMLElement, store: Store, signal: AbortSignal): void {
  const name = `livedb-${realmId()}-${(viewCount += 1)}`;
  const dom = buildDom(root);
  const body = createBody(dom.body);
  let columns: readonly Column[] = [];
  let layout: Layout = { widths: [], fractions: [] };
  let laidOutFor: RowWindow | null = null;
  let firstRow = 0;
  let scrollTop = 0;
  let viewportPx = 0;
  let active: Active | null = null;
  let added = new Set<string>();
  let isUpdate = false;
  let frame = 0;
  let drawnMs = Number.NEGATIVE_INFINITY;
  let fonts: Fonts | null = null;

  const view = store.openView((change) => {
    noteChange(change);
    drawSoon();
  }, signal);

  /** The rows as they are wanted now, from the first one. */
  const rearrange = (): void => {
    const arrangement = tools.arrangement();
    if (!isSame(arrangement, view.arrangement)) {
      view.arrangement = arrangement;
      firstRow = 0;
      store.ask(view, windowFor({ start: 0, stop: ROWS_ON_SCREEN_MAX }, MARGIN_ROWS));
    }
    markSorts();
    schedule();
  };

  const tools = createTools(rearrange, () => dom.table.focus({ preventScroll: true }), signal);
  dom.bar.append(tools.element);
  dom.head.after(tools.row);

  const markSorts = (): void => {
    const { sorts } = tools.arrangement();
    [...dom.head.cells].forEach((cell, at) => markSort(cell, sorts, at));
  };

  const rowCount = (): number => view.window?.count ?? store.state()?.rowCount ?? 0;

  const headPx = (shape: Shape | undefined): number => (shape === "value" ? 0 : HEAD_PX + tools.rowPx());

  const geometry = (): Geometry => ({ rowCount: rowCount(), rowPx: ROW_PX, viewportPx });

  /** Keep the row at the top where it is when rows come or go above it, and note what is new. */
  const noteChange = ({ before, what }: Change): void => {
    const after = view.window;
    if (what === "state" || after === null) return;
    followActive(after);
    if (before === null || before.sequence < 0) return;
    isUpdate ||= before.sequence !== after.sequence;
    if (before.start !== after.start) return;
    const known = new Set(before.rows.map((row) => row.key));
    if (what === "patch") for (const { key } of after.rows) if (!known.has(key)) added.add(key);
    if (firstRow > 0) firstRow += shiftOfTop(before, after);
  };

  const shiftOfTop = (before: RowWindow, after: RowWindow): number => {
    const now = new Map(after.rows.map((row, at) => [row.key, at]));
    const top = Math.floor(firstRow) - before.start;
    for (let at = Math.max(0, top); at < before.rows.length; at += 1) {
      const moved = now.get(before.rows[at]?.key ?? "");
      if (moved !== undefined) return moved - at;
    }
    return 0;
  };

  /** The active cell goes where its row goes; where its row is gone, it stays in its place. */
  const followActive = ({ start, rows }: RowWindow): void => {
    if (active === null) return;
    const { identity, at, column } = active;
    const moved = rows.findIndex((row) => row.key === identity);
    if (moved >= 0) active = { identity, at: start + moved, column };
    else if (at >= start && at < start + rows.length) active = { identity: identityOf(at), at, column };
  };

  const rowAt = (at: number): Row | null => {
    const { window } = view;
    return window === null ? null : (window.rows[at - window.start] ?? null);
  };

  const identityOf = (at: number): string => rowAt(at)?.key ?? `#${at}`;

  const schedule = (): void => {
    frame ||= requestAnimationFrame(draw);
  };

  /** The first change after a pause is drawn at once, not a frame later; in a burst, once a frame. */
  const drawSoon = (): void => {
    if (frame === 0 && !document.hidden && performance.now() - drawnMs > PAUSE_MS) draw();
    else schedule();
  };

  const draw = (): void => {
    frame = 0;
    drawnMs = performance.now();
    if (signal.aborted || !root.isConnected) return; // the observer calls again once it is on the page
    const state = store.state();
    drawSurroundings(state);
    if (state !== null) drawRows(state);
    drawExtent(state);
    added = new Set();
    isUpdate = false;
  };

  const drawSurroundings = (state: TableState | null): void => {
    const status = store.status();
    setText(dom.title, state?.title ?? "");
    dom.title.title = state?.title ?? "";
    const isTable = state?.shape === "rows" && state.columns.length > 0;
    tools.element.hidden = !isTable;
    tools.setEnabled(status === "live" || status === "waiting");
    dom.bar.hidden = !state?.title && !isTable;
    dom.table.setAttribute("aria-label", state?.title || "live table");
    setText(dom.advice, adviceFor(state, status));
    dom.advice.hidden = dom.advice.textContent === "";
    setText(dom.error, state?.error ?? "");
    dom.error.hidden = state === null || state.error === null;
    root.dataset["state"] = standingOf(state, status);
    root.dataset["shape"] = state?.shape ?? "rows";
    root.dataset["number"] = String(state?.number ?? "");
  };

  /** What the reader has not in sight: rows by their numbers, columns by a shade at the edge. */
  const drawExtent = (state: TableState | null): void => {
    const { scrollLeft, scrollWidth, clientWidth, offsetWidth } = dom.scroller;
    const isWide = scrollWidth > clientWidth + 1;
    root.classList.toggle("livedb-more-left", isWide && scrollLeft > 1);
    root.classList.toggle("livedb-more-right", isWide && scrollLeft + clientWidth < scrollWidth - 1);
    dom.frame.style.setProperty("--livedb-bar", `${offsetWidth - clientWidth}px`);
    const whole = { ...geometry(), viewportPx: Math.floor(viewportPx / ROW_PX) * ROW_PX };
    const { start, stop } = visibleRows(Math.round(firstRow), whole);
    dom.footer.update(state, standingOf(state, store.status()), { shown: { start, stop }, count: rowCount(), isWide });
  };

  const drawRows = (state: TableState): void => {
    if (!sameColumns(columns, state.columns)) drawHead(state);
    if (view.window !== laidOutFor) growColumns(state);
    sizeScroller(state);
    const shown = visibleRows(firstRow, geometry());
    const paddingPx = (cell: Cell, column: number): number =>
      fonts === null ? 0 : pointPaddingPx(cell, layout.fractions[column] ?? 0, fonts);
    body.paint({ lines: lines(shown), columns, paddingPx, active, name, added, isUpdate });
    dom.body.style.transform = `translateY(${-Math.round((firstRow - shown.start) * ROW_PX)}px)`;
    markActive(shown);
    dom.frame.hidden = state.columns.length === 0; // it has failed from the start
    dom.empty.hidden = rowCount() > 0 || dom.frame.hidden;
    setText(dom.empty, isPlain(view.arrangement) || state.rowCount === 0 ? "no rows" : "no rows are like that");
    askFor(shown, rowCount());
  };

  const lines = (shown: { start: number; stop: number }): Line[] =>
    Array.from({ length: shown.stop - shown.start }, (_, index) => {
      const at = shown.start + index;
      return { identity: identityOf(at), at, row: rowAt(at) };
    });

  const drawHead = (state: TableState): void => {
    const arrangement = carriedOver(tools.arrangement(), columns, state.columns);
    ({ columns } = state);
    layout = { widths: [], fractions: [] };
    laidOutFor = null;
    body.reset();
    dom.head.replaceChildren(...columns.map(headCell));
    dom.table.setAttribute("aria-colcount", String(columns.length));
    tools.restore(arrangement, columns);
    rearrange();
  };

  const growColumns = ({ shape }: TableState): void => {
    laidOutFor = view.window;
    layout = layOut(columns, view.window?.rows ?? [], shape, layout, (fonts ??= fontsOf(root, dom.head)));
    const { widths } = layout;
    dom.widths.replaceChildren(...widths.map((width, at) => {
      const col = document.createElement("col");
      if (at < widths.length - 1) col.style.width = `${width}px`; // the last takes what is left
      return col;
    }));
    dom.table.style.width = `${widths.reduce((sum, width) => sum + width, 0)}px`;
  };

  const sizeScroller = (state: TableState): void => {
    const topPx = headPx(state.shape);
    const rowsOnScreen = Math.min(Math.max(state.rowCount, 1), ROWS_ON_SCREEN_MAX);
    dom.table.setAttribute("aria-rowcount", String(rowCount() + 1));
    const barPx = dom.scroller.offsetHeight - dom.scroller.clientHeight;
    dom.scroller.style.height = `${topPx + rowsOnScreen * ROW_PX + barPx}px`;
    viewportPx = Math.max(ROW_PX, dom.scroller.clientHeight - topPx, rowsOnScreen * ROW_PX);
    firstRow = Math.max(0, Math.min(firstRow, rowCount() - viewportPx / ROW_PX));
    dom.sizer.style.height = `${topPx + contentPx(geometry())}px`;
    dom.pane.style.height = `${topPx + viewportPx}px`;
    moveScrollbar();
  };

  /** Put the scrollbar where `firstRow` is, without taking that for a scroll of the reader's. */
  const moveScrollbar = (): void => {
    const wanted = scrollTopOf(firstRow, geometry());
    const isScaled = contentPx(geometry()) < geometry().rowCount * ROW_PX;
    if (Math.abs(wanted - scrollTop) < (isScaled ? 2 * viewportPx : 1)) return;
    dom.scroller.scrollTop = wanted;
    ({ scrollTop } = dom.scroller);
  };

  const markActive = (shown: { start: number; stop: number }): void => {
    const isShown = active !== null && active.at >= shown.start && active.at < shown.stop;
    if (isShown) dom.table.setAttribute("aria-activedescendant", `${name}-${active?.at}-${active?.column}`);
    else dom.table.removeAttribute("aria-activedescendant");
  };

  const askFor = (shown: { start: number; stop: number }, count: number): void => {
    const status = store.status();
    if (status === "stale" || status === "closed") return;
    const { window, request } = view;
    const isLive = window !== null && window.sequence >= 0;
    const held = request ?? (isLive ? { start: window.start, stop: window.start + window.rows.length } : null);
    if (held !== null && isEnough(held, shown, count, MARGIN_ROWS)) return;
    store.ask(view, windowFor(shown, MARGIN_ROWS));
  };

  const moveTo = (at: number, column: number): void => {
    if (rowCount() === 0 || columns.length === 0) return;
    const row = Math.max(0, Math.min(at, rowCount() - 1));
    active = { identity: identityOf(row), at: row, column: Math.max(0, Math.min(column, columns.length - 1)) };
    firstRow = firstRowShowing(row, firstRow, geometry());
    showColumn(active.column);
    schedule();
  };

  const showColumn = (column: number): void => {
    const { widths } = layout;
    const left = widths.slice(0, column).reduce((sum, width) => sum + width, 0);
    const right = left + (widths[column] ?? 0);
    const { scroller } = dom;
    if (left < scroller.scrollLeft) scroller.scrollLeft = left;
    else if (right > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = right - scroller.clientWidth;
  };

  const onKey = (event: KeyboardEvent): void => {
    if (event.altKey || event.metaKey) return;
    const { at, column } = active ?? { at: Math.ceil(firstRow), column: 0 };
    const page = Math.max(1, Math.floor(viewportPx / ROW_PX) - 1);
    const toEdge = event.ctrlKey;
    const moves: Record<string, () => void> = {
      ArrowDown: () => moveTo(active === null ? at : at + 1, column),
      ArrowUp: () => moveTo(at - 1, column),
      ArrowRight: () => moveTo(at, column + 1),
      ArrowLeft: () => moveTo(at, column - 1),
      PageDown: () => moveTo(at + page, column),
      PageUp: () => moveTo(at - page, column),
      Home: () => moveTo(0, toEdge ? 0 : column),
      End: () => moveTo(rowCount() - 1, toEdge ? columns.length - 1 : column),
      Escape: leave,
      s: () => tools.sortBy(column, false),
      S: () => tools.sortBy(column, true),
      f: () => tools.focusFilter(column),
      "/": () => tools.focusSearch(),
    };
    const move = moves[event.key];
    if (move === undefined || (event.ctrlKey && event.key.length === 1)) return;
    event.preventDefault();
    event.stopPropagation();
    move();
  };

  /** Give the keyboard back to the notebook, whose keys the table swallows while it has the focus. */
  const leave = (): void => {
    active = null;
    schedule();
    dom.table.blur();
    root.closest<HTMLElement>(".jp-Notebook")?.focus();
  };

  const onPress = (event: MouseEvent): void => {
    const cell = (event.target as Element | null)?.closest<HTMLTableCellElement>("td");
    const position = cell?.closest("tr")?.getAttribute("aria-rowindex");
    if (cell != null && position != null) moveTo(Number(position) - 2, cell.cellIndex);
  };

  const onHead = (event: MouseEvent): void => {
    const cell = (event.target as Element | null)?.closest<HTMLTableCellElement>("th");
    if (cell != null && tools.element.hidden === false) tools.sortBy(cell.cellIndex, event.shiftKey);
  };

  const onScroll = (): void => {
    const before = scrollTop;
    ({ scrollTop } = dom.scroller);
    if (scrollTop === before) return schedule(); // sideways
    firstRow = firstRowAfter(firstRow, before, scrollTop, geometry());
    schedule();
  };

  const onCopy = (event: ClipboardEvent): void => {
    if (active === null || String(document.getSelection()) !== "") return;
    const cell = rowAt(active.at)?.cells[active.column];
    if (cell === undefined || event.clipboardData === null) return;
    event.clipboardData.setData("text/plain", cell.dim ? "" : cell.title || cell.text);
    event.preventDefault();
  };

  dom.scroller.addEventListener("scroll", onScroll, { signal, passive: true });
  dom.table.addEventListener("keydown", onKey, { signal });
  dom.table.addEventListener("mousedown", onPress, { signal });
  dom.head.addEventListener("click", onHead, { signal });
  dom.table.addEventListener("copy", onCopy, { signal });
  if (typeof ResizeObserver !== "undefined") {
    const observer = new ResizeObserver(schedule);
    observer.observe(dom.scroller);
    signal.addEventListener("abort", () => observer.disconnect());
  }
  signal.addEventListener("abort", () => cancelAnimationFrame(frame));
  store.ask(view, { start: 0, stop: ROWS_ON_SCREEN_MAX + MARGIN_ROWS });
  schedule();
}

/** Width of a character where there is no canvas to measure with. */
const CHARACTER_PX = 7.2;

/** Measures texts in the host's fonts. */
function fontsOf(root: HTMLElement, head: HTMLElement): Fonts {
  const pen = document.createElement("canvas").getContext?.("2d") ?? null;
  const measureIn = (font: string) => (text: string): number => {
    if (pen === null) return text.length * CHARACTER_PX;
    pen.font = font;
    return pen.measureText(text).width;
  };
  const style = getComputedStyle(root);
  const monospace = style.getPropertyValue("--livedb-mono") || "monospace";
  const headSize = getComputedStyle(head.firstElementChild ?? root).fontSize || "12px";
  return {
    plainPx: measureIn(`13px ${style.fontFamily}`),
    headPx: measureIn(`600 ${headSize} ${style.fontFamily}`),
    monospacePx: measureIn(`12px ${monospace}`),
  };
}

function sameColumns(some: readonly Column[], others: readonly Column[]): boolean {
  return (
    some.length === others.length &&
    some.every(({ name, kind }, at) => name === others[at]?.name && kind === others[at]?.kind)
  );
}

function headCell({ name, kind }: Column, index: number): HTMLTableCellElement {
  const cell = document.createElement("th");
  cell.scope = "col";
  cell.setAttribute("role", "columnheader");
  cell.setAttribute("aria-colindex", String(index + 1));
  cell.textContent = name;
  cell.title = `${name} (${kind === "datetime" ? "UTC" : kind}); click to sort, with Shift by more columns`;
  cell.classList.toggle("livedb-number", NUMERIC.has(kind));
  return cell;
}

function buildDom(root: HTMLElement) {
  root.classList.add("livedb");
  const bar = root.appendChild(div("livedb-bar"));
  const title = bar.appendChild(div("livedb-title"));
  const error = root.appendChild(div("livedb-error"));
  const advice = root.appendChild(div("livedb-advice"));
  const frame = root.appendChild(div("livedb-frame"));
  const scroller = frame.appendChild(div("livedb-scroller"));
  const sizer = scroller.appendChild(div("livedb-sizer"));
  const pane = sizer.appendChild(div("livedb-pane"));
  const empty = root.appendChild(div("livedb-empty"));
  const footer = createFooter();
  root.append(footer.element);
  const table = pane.appendChild(document.createElement("table"));
  const widths = table.appendChild(document.createElement("colgroup"));
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  error.setAttribute("role", "alert");
  advice.setAttribute("role", "alert");
  empty.textContent = "no rows";
  for (const each of [bar, error, advice, empty]) each.hidden = true;
  table.setAttribute("role", "grid");
  table.setAttribute("aria-readonly", "true");
  head.setAttribute("aria-rowindex", "1");
  table.tabIndex = 0;
  scroller.tabIndex = -1; // otherwise Chromium makes it a second stop of the Tab key
  table.dataset["lmSuppressShortcuts"] = "true"; // JupyterLab: arrow keys are ours while focused
  return { bar, title, error, advice, frame, scroller, sizer, pane, empty, footer, table, widths, head, body };
}
