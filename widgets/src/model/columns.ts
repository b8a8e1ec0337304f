// Column widths from the texts of the rows at hand, measured in the host's fonts. Not from the laid-out
// page, so that scrolling and updates never force a layout; a column only ever grows, so that the table
// does not dance.

import { type Cell, fractionDigits } from "./cells.js";
import { labelOf } from "./formats.js";
import type { Column, Kind, Shape } from "./messages.js";
import type { Row } from "./rows.js";

const PADDING_PX = 26;
const WIDTH_PX_MIN = 48;
/** Of columns under whose heads their commonest values stand. */
const WIDTH_PX_MIN_NAMED = 96;
const NAMED: ReadonlySet<Kind> = new Set<Kind>(["text", "boolean"]);
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

/**
 * The layout for `columns`, at least `before` (of the same columns), wide enough for `rows`.
 * `only` these columns are measured, if it is given; the others stay as they were.
 */
export function layOut(
  columns: readonly Column[],
  rows: readonly Row[],
  shape: Shape,
  before: Layout,
  fonts: Fonts,
  only: ReadonlySet<number> | null = null,
): Layout {
  const isMeasured = (at: number): boolean => only === null || only.has(at) || before.widths[at] === undefined;
  const fractions = columns.map(({ kind, format }, at) =>
    !isMeasured(at) ? (before.fractions[at] ?? 0) : kind === "float" && format?.look == null && shape === "rows" ? mostDigits(rows, at, before.fractions[at] ?? 0) : 0,
  );
  const widths = columns.map((column, at) => {
    const { kind } = column;
    if (!isMeasured(at)) return before.widths[at] ?? WIDTH_PX_MIN;
    const measure = MONOSPACE.has(kind) ? fonts.monospacePx : fonts.plainPx;
    const enlarged = shape === "value" ? VALUE_SIZE : 1;
    let width = shape === "value" ? 0 : fonts.headPx(labelOf(column));
    for (const cell of longest(rows, at)) {
      width = Math.max(width, pxOf(cell, measure, fonts) * enlarged + pointPaddingPx(cell, fractions[at] ?? 0, fonts));
    }
    const most = shape === "rows" ? WIDTH_PX_MAX : WIDTH_PX_MAX_VALUE;
    const chipPx = kind === "id" ? 10 : 0;
    const least = shape === "rows" && NAMED.has(kind) ? WIDTH_PX_MIN_NAMED : WIDTH_PX_MIN;
    return Math.max(before.widths[at] ?? least, Math.min(Math.ceil(width) + PADDING_PX + chipPx, most));
  });
  return { widths, fractions };
}

export function sameColumns(some: readonly Column[], others: readonly Column[]): boolean {
  return (
    some.length === others.length &&
    some.every(({ name, kind, format }, at) => {
      const other = others[at];
      return name === other?.name && kind === other.kind && (format === other.format || JSON.stringify(format) === JSON.stringify(other.format));
    })
  );
}

function pxOf({ text, look }: Cell, measure: (text: string) => number, { plainPx }: Fonts): number {
  if (look === undefined) return measure(text);
  return look.px + (look.isPicture ? 0 : plainPx(look.text));
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
    if (cells.length === MEASURED_MAX && lengthOf(cell) <= lengthOf(cells.at(-1))) continue;
    cells.push(cell);
    cells.sort((one, other) => lengthOf(other) - lengthOf(one));
    cells.length = Math.min(cells.length, MEASURED_MAX);
  }
  return cells;
}

const lengthOf = (cell: Cell | undefined): number => textLength(cell?.look?.text ?? cell?.text ?? "");

/** Length in narrow characters; East Asian ones and pictures count twice. */
function textLength(text: string): number {
  if (text.length > 200) return text.length;
  let length = 0;
  for (const character of text) length += (character.codePointAt(0) ?? 0) >= 0x1100 && character !== "…" ? 2 : 1;
  return length;
}
