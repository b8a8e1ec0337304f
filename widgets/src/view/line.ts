// A row of a table whose cells stand in the slots of its columns. A column's cell stays the same element
// while its column is held, so that neither focus nor selection are lost when others come and go.

import type { Slot } from "../model/placement.js";

export interface Line {
  row: HTMLTableRowElement;
  cellOf: (column: number) => HTMLTableCellElement | undefined;
  /** Hold one cell per slot; costs nothing while the slots are the same. */
  fit: (slots: readonly Slot[]) => void;
}

/** `make` makes the cell of a column. */
export function createLine(row: HTMLTableRowElement, make: (column: number) => HTMLTableCellElement): Line {
  let held = new Map<number, HTMLTableCellElement>();
  let fitted: readonly Slot[] = [];

  const fit: Line["fit"] = (slots) => {
    if (slots === fitted) return;
    fitted = slots;
    const next = new Map<number, HTMLTableCellElement>();
    for (const slot of slots) {
      const cell = held.get(slot.column) ?? (slot.column < 0 ? gap() : make(slot.column));
      put(cell, slot);
      next.set(slot.column, cell);
    }
    for (const [column, cell] of held) if (!next.has(column)) cell.remove();
    let place = row.firstElementChild;
    for (const cell of next.values()) {
      if (cell === place) place = place.nextElementSibling;
      else row.insertBefore(cell, place);
    }
    held = next;
  };
  return { row, cellOf: (column) => held.get(column), fit };
}

/** The column of the cell that an event came from, if it came from one. */
export function columnAt(target: EventTarget | null): number | null {
  const at = (target as Element | null)?.closest<HTMLElement>("[data-column]")?.dataset["column"];
  return at === undefined ? null : Number(at);
}

function put(cell: HTMLTableCellElement, { column, place, leftPx }: Slot): void {
  if (column < 0) return;
  cell.dataset["column"] = String(column);
  cell.setAttribute("aria-colindex", String(place + 1));
  cell.classList.toggle("livedb-pinned", leftPx !== null);
  cell.style.left = leftPx === null ? "" : `${leftPx}px`;
}

function gap(): HTMLTableCellElement {
  const cell = document.createElement("td");
  cell.setAttribute("role", "presentation");
  cell.setAttribute("aria-hidden", "true");
  return cell;
}
