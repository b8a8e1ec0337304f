// Column widths from text lengths. Measured from the text, not from the page, so that scrolling and
// updates never force a layout; a column only ever grows, so that the table does not dance.

import type { Column, Kind, Shape } from "./messages.js";
import type { Row } from "./rows.js";

const PADDING_PX = 25;
const WIDTH_PX_MIN = 46;
const WIDTH_PX_MAX = 340;
const WIDTH_PX_MAX_VALUE = 720;
const CHARACTER_PX: Partial<Record<Kind, number>> = { id: 7.4, json: 7.4, bytes: 7.4, boolean: 7 };
const CHARACTER_PX_OTHER = 7.1;
const HEAD_CHARACTER_PX = 7.4;

/** Widths in px for `columns`, at least `before` (of the same columns), wide enough for `rows`. */
export function columnWidths(
  columns: readonly Column[],
  rows: readonly Row[],
  shape: Shape,
  before: readonly number[],
): number[] {
  return columns.map(({ name, kind }, at) => {
    const perCharacter = CHARACTER_PX[kind] ?? CHARACTER_PX_OTHER;
    let width = shape === "value" ? 0 : textLength(name) * HEAD_CHARACTER_PX;
    for (const { cells } of rows) width = Math.max(width, textLength(cells[at]?.text ?? "") * perCharacter);
    const most = shape === "rows" ? WIDTH_PX_MAX : WIDTH_PX_MAX_VALUE;
    return Math.max(before[at] ?? WIDTH_PX_MIN, Math.min(Math.ceil(width) + PADDING_PX, most));
  });
}

/** Length in narrow characters; East Asian ones and pictures count twice. */
function textLength(text: string): number {
  if (text.length > 200) return text.length;
  let length = 0;
  for (const character of text) length += (character.codePointAt(0) ?? 0) >= 0x1100 && character !== "…" ? 2 : 1;
  return length;
}
