// One view of a table: a scroller whose table is pinned to its top, rows drawn for the position.
//
// The table does not move with the scrollbar; on every scroll the rows for that position are drawn
// into it (as regular-table does). So the header needs no second table, nothing blanks during a fast
// scroll, and a scroll range of any height costs the page nothing. Everything is drawn from the
// store's state, once per frame: a late, repeated or skipped message makes no difference.

import { type Fonts, type Layout, layOut, pointPaddingPx, sameColumns } from "../model/columns.js";
import type { Cell } from "../model/cells.js";
import type { Column, Shape, TableState } from "../model/messages.js";
import { realmId } from "../model/realm.js";
import type { Row, RowWindow } from "../model/rows.js";
import type { Change, Store } from "../model/store.js";
import {
  contentPx, firstRowAfter, firstRowShowing, type Geometry, isEnough, scrollTopOf, visibleRows, windowFor,
} from "../model/window.js";
import { type Arrangement, carriedOver, isPlain, isSame } from "../model/arrangement.js";
import { initialPlacement, carriedToColumns, type Placement, type Slot, slotsFor } from "../model/placement.js";
import { type Active, createBody, type Drawn } from "./body.js";
import type { CreateDesk, Desk, Grid } from "./desk.js";
import { buildDom, fontsOf, headCell, markSort } from "./dom.js";
import { adviceFor, setText, standingOf } from "./footer.js";
import { columnAt, createLine } from "./line.js";

const ROW_PX = 26;
const HEAD_PX = 30;
const ROWS_ON_SCREEN_MAX = 15;
const MARGIN_ROWS = 30;
const PAUSE_MS = 16;
const NONE: ReadonlySet<string> = new Set();

let viewCount = 0;

export function createTable(root: HTMLElement, store: Store, signal: AbortSignal): void {
  const name = `livedb-${realmId()}-${(viewCount += 1)}`;
  const dom = buildDom(root);
  const body = createBody(dom.body);
  let columns: readonly Column[] = [];
  let layout: Layout = { widths: [], fractions: [] };
  let placement: Placement = initialPlacement([]);
  let slots: readonly Slot[] = [];
  let laidOutFor: RowWindow | null = null;
  let firstRow = 0;
  let scrollTop = 0;
  let viewportPx = 0;
  let active: Active | null = null;
  let added = new Set<string>();
  let isUpdate = false;
  let frame = 0;
  let extentFrame = 0;
  let drawnMs = Number.NEGATIVE_INFINITY;
  let fonts: Fonts | null = null;
  let desk: Desk | null = null;

  const head = createLine(dom.head, (column) => {
    const cell = headCell(columns[column]);
    markSort(cell, view.arrangement.sorts, column);
    return cell;
  });

  const view = store.openView((change) => {
    noteChange(change);
    drawSoon();
  }, signal);

  /** Have the rows as they are wanted now, from the first one. */
  const arrange = (arrangement: Arrangement): void => {
    if (!isSame(arrangement, view.arrangement)) {
      view.arrangement = arrangement;
      firstRow = 0;
      store.ask(view, windowFor({ start: 0, stop: ROWS_ON_SCREEN_MAX }, MARGIN_ROWS));
    }
    for (const { column } of slots) {
      const cell = head.cellOf(column);
      if (cell !== undefined && column >= 0) markSort(cell, arrangement.sorts, column);
    }
    schedule();
  };

  const place = (next: Placement): void => {
    placement = next;
    slots = [];
    dom.table.setAttribute("aria-colcount", String(placement.shown.length));
    schedule();
  };

  const grid = (): Grid => ({
    dom,
    store,
    view,
    signal,
    columns: () => columns,
    placement: () => placement,
    place,
    arrange,
    slots: () => slots,
    viewPx,
    active: () => {
      const row = active === null ? null : rowAt(active.at);
      return active === null || row === null ? null : { row, column: active.column };
    },
    step: (count) => {
      if (active !== null) moveTo(active.at, columnIn(placeOf(active.column) + count));
    },
    at: () => active?.at ?? 0,
    stepRows: (count) => {
      if (active !== null) moveTo(active.at + count, active.column);
      return active?.at ?? 0;
    },
    activate: (column) => {
      if (active !== null) moveTo(active.at, column);
    },
    cellOf: ({ key, column }) => {
      const found = view.window?.rows.findIndex((row) => row.key === key) ?? -1;
      const at = (view.window?.start ?? 0) + found;
      return found < 0 ? null : dom.body.querySelector<HTMLElement>(`[id="${name}-${at}-${column}"]`);
    },
    focus: () => dom.table.focus({ preventScroll: true }),
    redraw: schedule,
  });

  /** Without it there are rows to look at, and nothing to do with them. */
  const attach = (create: CreateDesk): void => {
    if (signal.aborted) return;
    desk = create(grid());
    desk.setColumns(columns, view.arrangement);
    slots = [];
    schedule();
  };

  const rowCount = (): number => view.window?.count ?? store.state()?.rowCount ?? 0;

  const headPx = (shape: Shape | undefined): number => (shape === "value" ? 0 : HEAD_PX + (desk?.rowsPx() ?? 0));

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
    frame ||= requestAnimationFrame(drawFrame);
  };

  /** The first change after a pause is drawn at once, not a frame later; in a burst, once a frame. */
  const drawSoon = (): void => {
    if (frame === 0 && !document.hidden && performance.now() - drawnMs > PAUSE_MS) {
      draw();
      extentFrame ||= requestAnimationFrame(drawExtent);
    } else schedule();
  };

  const drawFrame = (): void => {
    frame = 0;
    draw();
    drawExtent();
  };

  /** Whether there is a page to draw on; the observer calls again once there is. */
  const isOnPage = (): boolean => !signal.aborted && root.isConnected;

  const draw = (): void => {
    drawnMs = performance.now();
    if (!isOnPage()) return;
    const state = store.state();
    drawSurroundings(state);
    if (state !== null) drawRows(state);
    desk?.placed();
    added = new Set();
    isUpdate = false;
  };

  const drawSurroundings = (state: TableState | null): void => {
    const status = store.status();
    setText(dom.title, state?.title ?? "");
    dom.title.title = state?.title ?? "";
    desk?.draw();
    dom.bar.hidden = !state?.title && dom.bar.querySelector(".livedb-tools:not([hidden])") === null;
    dom.table.setAttribute("aria-label", state?.title || "live table");
    dom.table.setAttribute("aria-readonly", String(!store.isEditable()));
    setText(dom.advice, adviceFor(state, status));
    dom.advice.hidden = dom.advice.textContent === "";
    setText(dom.error, state?.error ?? "");
    dom.error.hidden = state === null || state.error === null;
    root.dataset["state"] = standingOf(state, status);
    root.dataset["shape"] = state?.shape ?? "rows";
    root.dataset["number"] = String(state?.number ?? "");
  };

  /**
   * What the reader has not in sight: rows by their numbers, columns by a shade at the edge. It measures,
   * for which the browser lays out the page, as it does for each frame: in a frame it costs nothing more.
   */
  const drawExtent = (): void => {
    extentFrame = 0;
    if (!isOnPage()) return;
    const state = store.state();
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
    holdColumns();
    sizeScroller(state);
    const shown = visibleRows(firstRow, geometry());
    const paddingPx = (cell: Cell, column: number): number =>
      fonts === null ? 0 : pointPaddingPx(cell, layout.fractions[column] ?? 0, fonts);
    body.paint({ rows: drawnRows(shown), columns, slots, paddingPx, active, selected: desk?.selected() ?? NONE, name, added, isUpdate });
    dom.body.style.transform = `translateY(${-Math.round((firstRow - shown.start) * ROW_PX)}px)`;
    markActive(shown);
    dom.frame.hidden = state.columns.length === 0; // it has failed from the start, or has never had a row
    dom.empty.hidden = rowCount() > 0 || (dom.frame.hidden && state.error !== null);
    setText(dom.empty, isPlain(view.arrangement) || state.rowCount === 0 ? "no rows" : "no rows are like that");
    askFor(shown, rowCount());
  };

  /**
   * px of the columns in sight; a page that is not laid out shows them all. A table that is yet to grow
   * with its columns has all of the room that it is given.
   */
  const viewPx = (): number =>
    Math.max(dom.scroller.clientWidth, root.parentElement?.clientWidth ?? 0) || Number.POSITIVE_INFINITY;

  const drawnRows = (shown: { start: number; stop: number }): Drawn[] =>
    Array.from({ length: shown.stop - shown.start }, (_, index) => {
      const at = shown.start + index;
      return { identity: identityOf(at), at, row: rowAt(at) };
    });

  const drawHead = (state: TableState): void => {
    const arrangement = carriedOver(view.arrangement, columns, state.columns);
    placement = columns.length === 0 ? initialPlacement(state.columns) : carriedToColumns(placement, columns, state.columns);
    ({ columns } = state);
    layout = { widths: [], fractions: [] };
    laidOutFor = null;
    slots = [];
    body.reset();
    head.fit([]);
    place(placement);
    arrange(arrangement);
    desk?.setColumns(columns, arrangement);
  };

  /** Make columns wide enough for the rows at hand: at first all of them, then those that the page holds. */
  const growColumns = ({ shape }: TableState): void => {
    laidOutFor = view.window;
    const held = slots.length === 0 ? null : new Set(slots.map(({ column }) => column));
    const next = layOut(columns, view.window?.rows ?? [], shape, layout, (fonts ??= fontsOf(root, dom.head)), held);
    if (next.widths.some((px, column) => px !== layout.widths[column])) slots = [];
    layout = next;
  };

  /** Hold the columns that are in sight, as wide as they are. */
  const holdColumns = (): void => {
    const widths = layout.widths.map((px, column) => placement.widths.get(column) ?? px);
    const next = slotsFor(placement, widths, dom.scroller.scrollLeft, viewPx(), slots);
    if (next === slots) return;
    slots = next;
    dom.widths.replaceChildren(...slots.map(({ column, px }, at) => {
      const col = document.createElement("col");
      if (at < slots.length - 1 || column < 0) col.style.width = `${px}px`; // the last takes what is left
      return col;
    }));
    dom.table.style.width = `${slots.reduce((sum, { px }) => sum + px, 0)}px`;
    const hadFocus = dom.table.matches(":focus-within");
    head.fit(slots);
    desk?.fit(slots);
    if (hadFocus && !dom.table.matches(":focus-within")) dom.table.focus({ preventScroll: true });
  };

  const sizeScroller = (state: TableState): void => {
    const topPx = headPx(state.shape);
    const rowsOnScreen = rowCount() === 0 ? 0 : Math.min(Math.max(state.rowCount, 1), ROWS_ON_SCREEN_MAX);
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
    const isHeld = slots.some(({ column }) => column === active?.column);
    const isShown = active !== null && isHeld && active.at >= shown.start && active.at < shown.stop;
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
    active = { identity: identityOf(row), at: row, column };
    firstRow = firstRowShowing(row, firstRow, geometry());
    showColumn(column);
    desk?.moved();
    schedule();
  };

  /** The column at a place among those shown, or at the nearest end. */
  const columnIn = (place: number): number =>
    placement.shown[Math.max(0, Math.min(place, placement.shown.length - 1))] ?? 0;

  const placeOf = (column: number): number => placement.shown.indexOf(column);

  const showColumn = (column: number): void => {
    const { scroller } = dom;
    const pxOf = (each: number): number => placement.widths.get(each) ?? layout.widths[each] ?? 0;
    const place = placeOf(column);
    const left = placement.shown.slice(0, place).reduce((sum, each) => sum + pxOf(each), 0);
    const right = left + pxOf(column);
    const stuck = slots.filter(({ leftPx }) => leftPx !== null);
    if (place < stuck.length) return; // it is always in sight
    const stuckPx = stuck.reduce((sum, { px }) => sum + px, 0);
    if (left < scroller.scrollLeft + stuckPx) scroller.scrollLeft = left - stuckPx;
    else if (right > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = right - scroller.clientWidth;
  };

  const onKey = (event: KeyboardEvent): void => {
    if (event.altKey) return;
    const isControl = event.ctrlKey || event.metaKey;
    const { at, column } = active ?? { at: Math.ceil(firstRow), column: columnIn(0) };
    const place = placeOf(column);
    const page = Math.max(1, Math.floor(viewportPx / ROW_PX) - 1);
    const toEdge = isControl;
    const moves: Record<string, () => void> = {
      ArrowDown: () => moveTo(active === null ? at : at + 1, column),
      ArrowUp: () => moveTo(at - 1, column),
      ArrowRight: () => moveTo(at, columnIn(place + 1)),
      ArrowLeft: () => moveTo(at, columnIn(place - 1)),
      PageDown: () => moveTo(at + page, column),
      PageUp: () => moveTo(at - page, column),
      Home: () => moveTo(0, toEdge ? columnIn(0) : column),
      End: () => moveTo(rowCount() - 1, toEdge ? columnIn(columns.length) : column),
      Escape: leave,
    };
    const move = desk?.key(event, column) ?? (isControl && event.key.length === 1 ? undefined : moves[event.key]);
    if (move === undefined) return;
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
    const position = (event.target as Element | null)?.closest("tbody tr")?.getAttribute("aria-rowindex");
    const column = columnAt(event.target);
    if (position == null || column === null) return;
    const at = Number(position) - 2;
    if (event.shiftKey) event.preventDefault(); // the browser would select text
    if (event.shiftKey) dom.table.focus({ preventScroll: true });
    desk?.pressRow(at, event);
    moveTo(at, column);
  };

  const onHead = (event: MouseEvent): void => {
    const column = columnAt(event.target);
    if (column !== null) desk?.press(column, event.shiftKey);
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
    if (event.clipboardData !== null && desk?.copy(event.clipboardData)) return event.preventDefault();
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
  signal.addEventListener("abort", () => [frame, extentFrame].forEach(cancelAnimationFrame));
  store.ask(view, { start: 0, stop: ROWS_ON_SCREEN_MAX + MARGIN_ROWS });
  store.desk<{ createDesk: CreateDesk }>().then(({ createDesk }) => attach(createDesk), () => {}); // no kernel, no desk
  schedule();
}
