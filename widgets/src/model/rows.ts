// Rows of a window: decoded from Arrow, and moved to the next state by a patch. No DOM.

import { tableFromIPC } from "@uwdata/flechette";
import { type Cell, cellOf } from "./cells.js";
import type { Column, Patch, WindowContent } from "./messages.js";

/** A row as drawn. Two states share the object of a row that did not change. */
export interface Row {
  key: string | null;
  cells: Cell[];
}

/** The rows [start, start + rows.length) of a result, as of update `sequence`. */
export interface RowWindow {
  start: number;
  sequence: number;
  rows: Row[];
}

/** A patch made for another window than the one at hand: something was missed. */
export class GapError extends Error {
  override name = "GapError";
}

/** Decode `count` rows; `keys` names them, null when they have no names. */
export function decodeRows(
  arrow: DataView | null,
  columns: readonly Column[],
  keys: readonly string[] | null,
  count: number,
): Row[] {
  if (count === 0 || arrow === null) return [];
  const bytes = new Uint8Array(arrow.buffer, arrow.byteOffset, arrow.byteLength);
  const table = tableFromIPC(bytes, { useBigInt: true });
  const values = columns.map((_, at) => table.getChildAt(at));
  return Array.from({ length: count }, (_, row) => ({
    key: keys?.[row] ?? null,
    cells: columns.map(({ kind }, at) => cellOf(values[at]?.at(row), kind)),
  }));
}

/** The window that a reply or a patch without runs describes. */
export function wholeWindow(
  content: WindowContent,
  columns: readonly Column[],
  sequence: number,
  buffers: readonly DataView[],
): RowWindow {
  const arrow = content.buffer === null ? null : (buffers[content.buffer] ?? null);
  return { start: content.start, sequence, rows: decodeRows(arrow, columns, content.keys, content.rows) };
}

/** The next window after `old`. Throws GapError when the patch is not based on `old`. */
export function applyPatch(
  old: RowWindow,
  patch: Patch,
  columns: readonly Column[],
  sequence: number,
  buffers: readonly DataView[],
): RowWindow {
  if (patch.runs === null) return wholeWindow(patch, columns, sequence, buffers);
  if (patch.base !== old.sequence || patch.start !== old.start) {
    throw new GapError(`patch over ${patch.base} at ${patch.start}, window ${old.sequence} at ${old.start}`);
  }
  const arrow = patch.buffer === null ? null : (buffers[patch.buffer] ?? null);
  const fresh = decodeRows(arrow, columns, patch.keys, patch.keys?.length ?? 0);
  const rows = patch.runs.flatMap(([from, count]) =>
    from >= 0 ? old.rows.slice(from, from + count) : fresh.slice(-1 - from, -1 - from + count),
  );
  const expected = patch.runs.reduce((sum, [, count]) => sum + count, 0);
  if (rows.length !== expected) throw new GapError(`patch of ${expected} rows gave ${rows.length}`);
  return { start: patch.start, sequence, rows };
}
