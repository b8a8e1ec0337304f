// Column widths from the texts of the rows at hand, measured in the host's fonts. Not from the laid-out
// page, so that scrolling and updates never force a layout; a column only ever grows, so that the table
// does not dance.

import { type Cell, fractionDigits } from "./cells.js";
import type { Column, Kind, Shape } from "./messages.js";
import type { Row } from "./rows.js";

const PADDING_PX = 26;
const WIDTH_PX_MIN = 48;
const WIDTH_PX_MAX = 340;
const WIDTH_PX_MAX_VALUE = 720;
/** How much larger than a table's cells a single value is written, as in table.css. */
const VALUE_SIZE = 16 / 13;
/** Texts of a column that are measured: its longest. */
const MEASURED_MAX = 4;
const MONOSPACE: ReadonlySet<Kind> = new Set<Kind>(["id", "json", "bytes"]);

/** How wide a text is, in px, in the fonts that a host gives the table. */
export interface Fonts {
  plainPx: (text: string) => number;
  headPx: (text: string) => number;
  monospacePx: (text: string) => number;
}

export interface Layout {
  /** px of each column. */
  widths: number[];
  /** Digits after the point in each column's longest fraction: the points of a column stand in line. */
  fractions: number[];
}

/** The layout for `columns`, at least `before` (of the same columns), wide enough for `rows`. */
export function layOut(
  columns: readonly Column[],
  rows: readonly Row[],
  shape: Shape,
  before: Layout,
  fonts: Fonts,
): Layout {
  const fractions = columns.map(({ kind }, at) =>
    kind === "float" && shape === "rows" ? mostDigits(rows, at, before.fractions[at] ?? 0) : 0,
  );
  const widths = columns.map(({ name, kind }, at) => {
    const measure = MONOSPACE.has(kind) ? fonts.monospacePx : fonts.plainPx;
    const enlarged = shape === "value" ? VALUE_SIZE : 1;
    let width = shape === "value" ? 0 : fonts.headPx(name);
    for (const cell of longest(rows, at)) {
      width = Math.max(width, measure(cell.text) * enlarged + pointPaddingPx(cell, fractions[at] ?? 0, fonts));
    }
    const most = shape === "rows" ? WIDTH_PX_MAX : WIDTH_PX_MAX_VALUE;
    const chipPx = kind === "id" ? 10 : 0;
    return Math.max(before.widths[at] ?? WIDTH_PX_MIN, Math.min(Math.ceil(width) + PADDING_PX + chipPx, most));
  });
  return { widths, fractions };
}

/** Room to the right of a number that brings its point under the others'. */
export function pointPaddingPx(cell: Cell, fraction: number, fonts: Fonts): number {
  const own = fractionDigits(cell.text);
  if (cell.dim || own === null || own >= fraction) return 0;
  return fonts.plainPx((own === 0 ? "." : "") + "0".repeat(fraction - own));
}

function mostDigits(rows: readonly Row[], at: number, least: number): number {
  let most = least;
  for (const { cells } of rows) most = Math.max(most, fractionDigits(cells[at]?.text ?? "") ?? 0);
  return most;
}

/** The cells of a column with the longest texts. */
function longest(rows: readonly Row[], at: number): Cell[] {
  const cells: Cell[] = [];
  for (const row of rows) {
    const cell = row.cells[at];
    if (cell === undefined) continue;
    const length = textLength(cell.text);
    if (cells.length === MEASURED_MAX && length <= textLength(cells.at(-1)?.text ?? "")) continue;
    cells.push(cell);
    cells.sort((one, other) => textLength(other.text) - textLength(one.text));
    cells.length = Math.min(cells.length, MEASURED_MAX);
  }
  return cells;
}

/** Length in narrow characters; East Asian ones and pictures count twice. */
function textLength(text: string): number {
  if (text.length > 200) return text.length;
  let length = 0;
  for (const character of text) length += (character.codePointAt(0) ?? 0) >= 0x1100 && character !== "…" ? 2 : 1;
  return length;
}
