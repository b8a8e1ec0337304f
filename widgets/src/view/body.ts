// The rows on screen: one <tr> per row identity, reused as long as that row stays visible, so that an
// update touches only the cells whose text changed. Whatever a reader has selected elsewhere stays.

import { type Cell, NUMERIC } from "../model/cells.js";
import { labelOf } from "../model/formats.js";
import type { Column, Kind } from "../model/messages.js";
import type { Slot } from "../model/placement.js";
import type { Row } from "../model/rows.js";
import { createLine, type Line } from "./line.js";

export interface Drawn {
  /** The row's key, or its position in the result where rows have no keys. */
  identity: string;
  /** Position in the result. */
  at: number;
  /** Null while the row is on its way. */
  row: Row | null;
}

export interface Active {
  identity: string;
  at: number;
  column: number;
}

export interface Paint {
  rows: readonly Drawn[];
  columns: readonly Column[];
  /** The columns that the page holds. */
  slots: readonly Slot[];
  /** Room to the right of a number, so that the points of its column stand in line. */
  paddingPx: (cell: Cell, column: number) => number;
  active: Active | null;
  /** Keys of the rows that are selected; where there are none, it is the active one. */
  selected: ReadonlySet<string>;
  /** Prefix of element ids, unique per view. */
  name: string;
  /** Identities that this update added; [] when painting for another reason. */
  added: ReadonlySet<string>;
  /** Whether changed cells may flash: true for an update, false for scrolling. */
  isUpdate: boolean;
}

const FLASH_MS = 1_100;
const MONOSPACE: ReadonlySet<Kind> = new Set<Kind>(["id", "json", "bytes"]);

interface Held {
  line: Line;
  row: Row | null;
}

export function createBody(body: HTMLTableSectionElement): { paint: (paint: Paint) => void; reset: () => void } {
  let held = new Map<string, Held>();

  const paint = (input: Paint): void => {
    const next = new Map<string, Held>();
    const free = [...held].filter(([identity]) => !input.rows.some((each) => each.identity === identity));
    let place: Element | null = body.firstElementChild;
    for (const drawn of input.rows) {
      const known = held.get(drawn.identity);
      const one = known ?? reuse(free.shift()?.[1]) ?? { line: createLine(document.createElement("tr"), emptyCell), row: null };
      const { row } = one.line;
      const mayFlash = input.isUpdate && known !== undefined && known.row !== null;
      fillRow(one, drawn, input, mayFlash);
      if (input.added.has(drawn.identity)) flash([...row.cells], "added");
      if (row === place) place = place.nextElementSibling;
      else body.insertBefore(row, place);
      next.set(drawn.identity, one);
    }
    for (const [, { line }] of free) line.row.remove();
    held = next;
  };

  const reset = (): void => {
    held = new Map();
    body.replaceChildren();
  };
  return { paint, reset };
}

/** A row element that left the screen, for another row: nothing of the old one may flash. */
function reuse(old: Held | undefined): Held | undefined {
  for (const animation of old?.line.row.getAnimations?.({ subtree: true }) ?? []) animation.cancel();
  return old;
}

function fillRow(one: Held, { at, row, identity }: Drawn, input: Paint, mayFlash: boolean): void {
  const { line } = one;
  const { active, columns } = input;
  const isActive = active?.identity === identity;
  setAttribute(line.row, "aria-rowindex", String(at + 2)); // the header is row 1
  const isSelected = input.selected.size > 0 ? input.selected.has(identity) : isActive;
  setAttribute(line.row, "aria-selected", String(isSelected));
  line.row.classList.toggle("livedb-odd", at % 2 === 1);
  line.row.classList.toggle("livedb-coming", row === null);
  line.fit(input.slots);
  for (const { column } of input.slots) {
    const cell = line.cellOf(column);
    const known = columns[column];
    if (cell === undefined || known === undefined) continue;
    const { kind, format } = known;
    const isNew = cell.dataset["kind"] !== kind;
    setAttribute(cell, "id", `${input.name}-${at}-${column}`);
    cell.classList.toggle("livedb-active", isActive && active.column === column);
    const content = row?.cells[column] ?? null;
    if (isNew) styleCell(cell, kind);
    if (isNew || row === null || one.row !== row) fillCell(cell, content, known, mayFlash && !isNew);
    if (kind === "float" && format?.look == null && content !== null) pad(cell, input.paddingPx(content, column));
  }
  one.row = row;
}

/** The looks that cells have, of those that are more than a text. */
const drawn = new WeakMap<HTMLTableCellElement, string>();

function fillCell(element: HTMLTableCellElement, cell: Cell | null, column: Column, mayFlash: boolean): void {
  const look = cell?.look;
  const text = look?.text ?? cell?.text ?? "";
  const title = look?.title ?? (cell === null ? "" : cell.title || (cell.text.length > 30 ? cell.text : ""));
  element.classList.toggle("livedb-dim", look === undefined && (cell?.dim ?? false));
  const known = drawn.get(element);
  const key = look?.draw ? look.key : undefined;
  if (known !== undefined && key === undefined) element.replaceChildren();
  const target = element.firstElementChild ?? element;
  if (key === known && element.title === title && (key !== undefined || target.textContent === text)) return;
  if (key === undefined) drawn.delete(element);
  else drawn.set(element, key);
  if (look?.draw) look.draw(element, labelOf(column));
  else target.textContent = text;
  element.title = title;
  if (mayFlash && cell !== null) flash([element], "changed");
}

function pad(element: HTMLTableCellElement, px: number): void {
  const wanted = px === 0 ? "" : `${(12 + px).toFixed(1)}px`; // 12 px is a cell's own, as in table.css
  if (element.style.paddingRight !== wanted) element.style.paddingRight = wanted;
}

function emptyCell(): HTMLTableCellElement {
  const element = document.createElement("td");
  element.setAttribute("role", "gridcell");
  element.dir = "auto";
  return element;
}

function styleCell(element: HTMLTableCellElement, kind: Kind): void {
  element.dataset["kind"] = kind;
  element.classList.toggle("livedb-number", NUMERIC.has(kind));
  element.classList.toggle("livedb-monospace", MONOSPACE.has(kind));
  element.replaceChildren();
  if (kind === "id") element.append(document.createElement("span"));
}

/**
 * Let cells fade from the colour of a change; for readers who asked for less motion, a still tint.
 *
 * A shadow that fills the cell, not a background: Chromium left the background of a cell in a banded row
 * as it was when its animation had ended.
 */
function flash(cells: readonly HTMLTableCellElement[], what: "added" | "changed"): void {
  for (const cell of cells) {
    const filled = (colour: string): Keyframe => ({ boxShadow: `inset 0 0 0 20px ${colour}` }); // half a row is 13
    const from = filled(`var(--livedb-${what})`);
    const isStill = globalThis.matchMedia?.("(prefers-reduced-motion: reduce)").matches ?? false;
    const frames = isStill
      ? [from, from]
      : [from, { ...from, offset: 0.25 }, filled("transparent")];
    cell.animate?.(frames, { duration: FLASH_MS, easing: "ease-out" });
  }
}

function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}
