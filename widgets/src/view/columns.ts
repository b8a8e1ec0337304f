// Which columns are shown, in what order, how wide and which of them stay in sight: dragging at the
// heads, keys, and a panel that lists them all.

import { labelOf } from "../model/formats.js";
import { completed, moved, pinned, toggled, widened } from "../model/placement.js";
import type { Grid } from "./desk.js";
import { button, div } from "./footer.js";
import { columnAt } from "./line.js";
import { createPanel } from "./panel.js";

/** px at the right edge of a head that widen its column. */
const EDGE_PX = 7;

/** px that a pointer goes before a press counts as a drag. */
const DRAG_PX = 5;

const WIDEN_PX = 24;

/** Columns that the panel lists; a search finds the others. */
const LISTED_MAX = 200;

export interface Placer {
  toggle: HTMLButtonElement;
  panel: HTMLElement;
  keys: (column: number) => Record<string, () => void>;
  draw: () => void;
  close: () => void;
  /** Whether the click that comes now ends a drag. */
  hasDragged: () => boolean;
}

interface Drag {
  column: number;
  fromX: number;
  /** px of the column when it began; null where the column is moved. */
  px: number | null;
  hasMoved: boolean;
}

export function createPlacer(grid: Grid): Placer {
  const { dom, signal } = grid;
  let drag: Drag | null = null;
  let hasDragged = false;

  const panel = createPanel("columns", () => {
    close();
    grid.focus();
  }, signal);
  const search = panel.appendChild(document.createElement("input"));
  search.placeholder = "find a column";
  search.setAttribute("aria-label", search.placeholder);
  const all = panel.appendChild(button("show all"));
  const list = panel.appendChild(div("livedb-places-list"));

  const toggle = button("columns", "Show, hide and pin columns ( c )");
  toggle.setAttribute("aria-expanded", "false");

  const nameOf = (column: number): string => labelOf(grid.columns()[column]);

  const show = (isShown: boolean): void => {
    panel.hidden = !isShown;
    toggle.setAttribute("aria-expanded", String(isShown));
    draw();
    if (isShown) search.focus();
  };

  const close = (): void => {
    if (!panel.hidden) show(false);
  };

  const draw = (): void => {
    const placement = grid.placement();
    const columns = grid.columns();
    toggle.textContent = placement.shown.length < columns.length ? `columns ${placement.shown.length}/${columns.length}` : "columns";
    if (panel.hidden) return list.replaceChildren();
    all.disabled = placement.shown.length === columns.length;
    const said = search.value.trim().toLowerCase();
    const every = new Set([...placement.shown, ...columns.keys()]); // those hidden come last
    const found = [...every].filter((column) => nameOf(column).toLowerCase().includes(said));
    list.replaceChildren(...found.slice(0, LISTED_MAX).map(item));
    if (found.length > LISTED_MAX) list.append(`and ${found.length - LISTED_MAX} more`);
  };

  const item = (column: number): HTMLElement => {
    const { shown, pinned: count } = grid.placement();
    const place = shown.indexOf(column);
    const row = div("");
    const label = row.appendChild(document.createElement("label"));
    const box = label.appendChild(document.createElement("input"));
    box.type = "checkbox";
    box.checked = place >= 0;
    label.append(nameOf(column));
    const pin = row.appendChild(button("pin"));
    pin.setAttribute("aria-label", `pin ${nameOf(column)}`);
    pin.setAttribute("aria-pressed", String(place >= 0 && place < count));
    pin.disabled = place < 0;
    box.dataset["of"] = pin.dataset["of"] = String(column);
    return row;
  };

  /** After what is done in the panel the focus stays on its column. */
  const refocus = (element: HTMLElement): void => {
    draw();
    const { of } = element.dataset;
    list.querySelector<HTMLElement>(`${element.tagName}[data-of="${of}"]`)?.focus();
  };

  search.addEventListener("input", draw, { signal });
  all.addEventListener("click", () => {
    grid.place(completed(grid.placement(), grid.columns().length));
    draw();
  }, { signal });
  list.addEventListener("click", (event) => {
    const target = event.target as HTMLElement;
    const column = Number(target.dataset["of"] ?? -1);
    if (column < 0) return;
    grid.place((target.tagName === "BUTTON" ? pinned : toggled)(grid.placement(), column));
    refocus(target);
  }, { signal });
  toggle.addEventListener("click", () => show(panel.hidden !== false), { signal });

  // Dragging at the heads.

  const headAt = (x: number): HTMLElement | undefined =>
    [...dom.head.querySelectorAll<HTMLElement>("[data-column]")].find((head) => {
      const { left, right } = head.getBoundingClientRect();
      return x >= left && x < right;
    });

  const isAtEdge = (event: PointerEvent | MouseEvent): boolean => {
    const head = (event.target as Element | null)?.closest("th");
    return head != null && head.getBoundingClientRect().right - event.clientX <= EDGE_PX;
  };

  const dropPlace = (x: number): number | null => {
    const head = headAt(x);
    return head === undefined ? null : grid.placement().shown.indexOf(Number(head.dataset["column"]));
  };

  const unmark = (): void => {
    for (const each of dom.head.querySelectorAll<HTMLElement>("[data-drop]")) delete each.dataset["drop"];
  };

  const onDown = (event: PointerEvent): void => {
    const column = columnAt(event.target);
    hasDragged = false;
    if (column === null || event.button !== 0) return;
    const head = (event.target as Element).closest("th");
    drag = { column, fromX: event.clientX, px: isAtEdge(event) ? (head?.getBoundingClientRect().width ?? 0) : null, hasMoved: false };
    if (drag.px !== null) dom.head.setPointerCapture?.(event.pointerId);
  };

  const onMove = (event: PointerEvent): void => {
    dom.head.classList.toggle("livedb-widens", (drag?.px ?? null) !== null || (drag === null && isAtEdge(event)));
    if (drag === null) return;
    const byPx = event.clientX - drag.fromX;
    if (!drag.hasMoved && Math.abs(byPx) < DRAG_PX) return;
    if (!drag.hasMoved) dom.head.setPointerCapture?.(event.pointerId);
    drag.hasMoved = true;
    if (drag.px !== null) return grid.place(widened(grid.placement(), drag.column, drag.px + byPx));
    unmark();
    const head = headAt(event.clientX);
    if (head !== undefined) head.dataset["drop"] = byPx < 0 ? "before" : "after";
  };

  const onUp = (event: PointerEvent): void => {
    const ended = drag;
    drag = null;
    unmark();
    hasDragged = ended !== null && (ended.hasMoved || ended.px !== null);
    if (ended === null || !ended.hasMoved) return;
    const place = dropPlace(event.clientX);
    if (ended.px === null && place !== null) grid.place(moved(grid.placement(), ended.column, place));
  };

  dom.head.addEventListener("pointerdown", onDown, { signal });
  dom.head.addEventListener("pointermove", onMove, { signal });
  dom.head.addEventListener("pointerup", onUp, { signal });
  dom.head.addEventListener("pointercancel", () => {
    drag = null;
    unmark();
  }, { signal });
  dom.head.addEventListener("dblclick", (event) => {
    const column = columnAt(event.target);
    if (column !== null && isAtEdge(event)) grid.place(widened(grid.placement(), column, null));
  }, { signal });

  const widthOf = (column: number): number =>
    grid.slots().find((slot) => slot.column === column)?.px ?? 0;

  const keys: Placer["keys"] = (column) => {
    const placement = grid.placement();
    const place = placement.shown.indexOf(column);
    const neighbour = placement.shown[place + 1] ?? placement.shown[place - 1] ?? column;
    return {
      c: () => show(true),
      h: () => {
        grid.place(toggled(placement, column));
        grid.activate(neighbour);
      },
      p: () => grid.place(pinned(placement, column)),
      "<": () => grid.place(moved(placement, column, place - 1)),
      ">": () => grid.place(moved(placement, column, place + 1)),
      "-": () => grid.place(widened(placement, column, widthOf(column) - WIDEN_PX)),
      "+": () => grid.place(widened(placement, column, widthOf(column) + WIDEN_PX)),
      "=": () => grid.place(widened(placement, column, null)),
    };
  };

  return { toggle, panel, keys, draw, close, hasDragged: () => hasDragged };
}
