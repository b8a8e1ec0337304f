// The rows on screen: one <tr> per row identity, reused as long as that row stays visible, so that an
// update touches only the cells whose text changed. Whatever a reader has selected elsewhere stays.

import { type Cell, NUMERIC } from "../model/cells.js";
import type { Column, Kind } from "../model/messages.js";
import type { Row } from "../model/rows.js";

export interface Line {
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
  lines: readonly Line[];
  columns: readonly Column[];
  /** Room to the right of a number, so that the points of its column stand in line. */
  paddingPx: (cell: Cell, column: number) => number;
  active: Active | null;
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
  element: HTMLTableRowElement;
  row: Row | null;
}

export function createBody(body: HTMLTableSectionElement): { paint: (paint: Paint) => void; reset: () => void } {
  let held = new Map<string, Held>();

  const paint = (input: Paint): void => {
    const next = new Map<string, Held>();
    const free = [...held].filter(([identity]) => !input.lines.some((line) => line.identity === identity));
    let place: Element | null = body.firstElementChild;
    for (const line of input.lines) {
      const known = held.get(line.identity);
      const one = known ?? reuse(free.shift()?.[1]) ?? { element: document.createElement("tr"), row: null };
      const mayFlash = input.isUpdate && known !== undefined && known.row !== null;
      fillRow(one, line, input, mayFlash);
      if (input.added.has(line.identity)) flash([...one.element.cells], "added");
      if (one.element === place) place = place.nextElementSibling;
      else body.insertBefore(one.element, place);
      next.set(line.identity, one);
    }
    for (const [, { element }] of free) element.remove();
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
  for (const animation of old?.element.getAnimations?.({ subtree: true }) ?? []) animation.cancel();
  return old;
}

function fillRow(one: Held, { at, row, identity }: Line, input: Paint, mayFlash: boolean): void {
  const { element } = one;
  const { active, columns } = input;
  const isActive = active?.identity === identity;
  setAttribute(element, "aria-rowindex", String(at + 2)); // the header is row 1
  setAttribute(element, "aria-selected", String(isActive));
  element.classList.toggle("livedb-odd", at % 2 === 1);
  element.classList.toggle("livedb-coming", row === null);
  while (element.cells.length < columns.length) element.insertCell();
  columns.forEach((column, index) => {
    const cell = element.cells[index];
    if (cell === undefined) return;
    setAttribute(cell, "id", `${input.name}-${at}-${index}`);
    cell.classList.toggle("livedb-active", isActive && active.column === index);
    const content = row?.cells[index] ?? null;
    if (row === null || one.row !== row) fillCell(cell, index, column.kind, content, mayFlash);
    if (column.kind === "float" && content !== null) pad(cell, input.paddingPx(content, index));
  });
  one.row = row;
}

function fillCell(element: HTMLTableCellElement, index: number, kind: Kind, cell: Cell | null, mayFlash: boolean): void {
  if (element.dataset["kind"] !== kind) styleCell(element, index, kind);
  const text = cell?.text ?? "";
  const title = cell === null ? "" : cell.title || (cell.text.length > 30 ? cell.text : "");
  const target = element.firstElementChild ?? element;
  const isSame = target.textContent === text && element.title === title;
  element.classList.toggle("livedb-dim", cell?.dim ?? false);
  if (isSame) return;
  target.textContent = text;
  element.title = title;
  if (mayFlash && cell !== null) flash([element], "changed");
}

function pad(element: HTMLTableCellElement, px: number): void {
  const wanted = px === 0 ? "" : `${(12 + px).toFixed(1)}px`; // 12 px is a cell's own, as in table.css
  if (element.style.paddingRight !== wanted) element.style.paddingRight = wanted;
}

function styleCell(element: HTMLTableCellElement, index: number, kind: Kind): void {
  element.dataset["kind"] = kind;
  element.setAttribute("role", "gridcell");
  element.setAttribute("aria-colindex", String(index + 1));
  element.dir = "auto";
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
