// Column widths from text lengths and the host's fonts, measured once. Not from the laid-out page, so
// that scrolling and updates never force a layout; a column only ever grows, so that the table does not dance.

import type { Column, Kind, Shape } from "./messages.js";
import type { Row } from "./rows.js";

const PADDING_PX = 26;
const WIDTH_PX_MIN = 48;
const WIDTH_PX_MAX = 340;
const WIDTH_PX_MAX_VALUE = 720;
/** How much larger than a table's cells a single value is written, as in table.css. */
const VALUE_SIZE = 16 / 13;
const MONOSPACE: ReadonlySet<Kind> = new Set<Kind>(["id", "json", "bytes"]);

/** Mean width of a character in the fonts that a host gives the table. */
export interface Fonts {
  plainPx: number;
  headPx: number;
  monospacePx: number;
}

/** Widths in px for `columns`, at least `before` (of the same columns), wide enough for `rows`. */
export function columnWidths(
  columns: readonly Column[],
  rows: readonly Row[],
  shape: Shape,
  before: readonly number[],
  fonts: Fonts,
): number[] {
  return columns.map(({ name, kind }, at) => {
    const perCharacter = MONOSPACE.has(kind) ? fonts.monospacePx : fonts.plainPx;
    let width = shape === "value" ? 0 : textLength(name) * fonts.headPx;
    const enlarged = shape === "value" ? VALUE_SIZE : 1;
    for (const { cells } of rows) width = Math.max(width, textLength(cells[at]?.text ?? "") * perCharacter * enlarged);
    const most = shape === "rows" ? WIDTH_PX_MAX : WIDTH_PX_MAX_VALUE;
    const chipPx = kind === "id" ? 10 : 0;
    return Math.max(before[at] ?? WIDTH_PX_MIN, Math.min(Math.ceil(width) + PADDING_PX + chipPx, most));
  });
}

/** Length in narrow characters; East Asian ones and pictures count twice. */
function textLength(text: string): number {
  if (text.length > 200) return text.length;
  let length = 0;
  for (const character of text) length += (character.codePointAt(0) ?? 0) >= 0x1100 && character !== "…" ? 2 : 1;
  return length;
}
