// Rows of a window: decoded from Arrow, and moved to the next state by a patch. No DOM.

import { tableFromIPC } from "@uwdata/flechette";
import { type Cell, cellOf } from "./cells.js";
import type { Dress } from "./formats.js";
import type { Column, Kind, Patch, WindowContent } from "./messages.js";

/** A row as drawn. Two states share the object of a row that did not change. */
export interface Row {
  /** Its name on this page: the key that the kernel gives it, or one made here. */
  key: string;
  cells: Cell[];
}

/** The rows [start, start + rows.length) of a result, as of update `sequence`. */
export interface RowWindow {
  start: number;
  /** Rows that the view's arrangement leaves; null for all of them. */
  count: number | null;
  sequence: number;
  /** What the next patch must be over: the last update, or minus the request that it answers. */
  base: number;
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
  start: number,
  dress: Dress | null,
): Row[] {
  if (count === 0 || arrow === null) return [];
  const bytes = new Uint8Array(arrow.buffer, arrow.byteOffset, arrow.byteLength);
  const table = tableFromIPC(bytes, { useBigInt: true });
  const values = columns.map((_, at) => table.getChildAt(at));
  const figures = columns.map(({ format }, at) => (format === undefined ? null : table.getChild(`figures${at}`)));
  return Array.from({ length: count }, (_, row) => ({
    key: keys?.[row] ?? `#${start + row}`,
    cells: columns.map((column, at) => dressed(cellOf(values[at]?.at(row), column.kind), column, figures[at]?.at(row), dress)),
  }));
}

/** Few rows that came as JSON (`json_rows` in cells.py); they have no figures. */
function rowsOfCells(cells: unknown[][], columns: readonly Column[], keys: readonly string[], dress: Dress | null): Row[] {
  return keys.map((key, row) => ({
    key,
    cells: columns.map((column, at) => dressed(cellOf(plainOf(cells[at]?.[row], column.kind), column.kind), column, undefined, dress)),
  }));
}

/** The value as Arrow would have given it. */
function plainOf(value: unknown, kind: Kind): unknown {
  if (value === null || value === undefined) return null;
  if (kind === "datetime") return BigInt(value as string | number);
  return kind === "float" ? Number(value === "inf" ? Infinity : value === "-inf" ? -Infinity : value) : value;
}

/** The cell as its column's format has it. */
function dressed(cell: Cell, { kind, format }: Column, figures: unknown, dress: Dress | null): Cell {
  const look = format?.look == null || dress === null ? null : dress(cell, kind, format.look, figures);
  return look === null ? cell : { ...cell, look };
}

/** The window that a reply or a patch without runs describes. */
export function wholeWindow(
  content: WindowContent,
  columns: readonly Column[],
  { sequence, base }: { sequence: number; base: number },
  buffers: readonly DataView[],
  dress: Dress | null = null,
): RowWindow {
  const arrow = content.buffer === null ? null : (buffers[content.buffer] ?? null);
  const { start, count } = content;
  return { start, count: count ?? null, sequence, base, rows: decodeRows(arrow, columns, content.keys, content.rows, start, dress) };
}

/** Kinds whose values say which row it is rather than how it stands. */
const NAMING: ReadonlySet<Kind> = new Set<Kind>(["text", "id", "name", "datetime", "boolean"]);

let namesMade = 0;

/**
 * `next` with the names of the rows of `old` that it holds too, where keys cannot tell, as in most SQL.
 *
 * A row is the same if all of it is, else if its words are, else if neither is found elsewhere and it
 * stands in the same place. A guess wrong now and then costs a flash too many, never a wrong value.
 */
function named(next: RowWindow, old: RowWindow, columns: readonly Column[]): RowWindow {
  if (next.start !== old.start) return next;
  const names: (string | null)[] = next.rows.map(() => null);
  const left = new Set(old.rows.keys());
  const match = (textOf: (row: Row) => string | null): void => {
    const places = new Map<string, number[]>();
    for (const at of left) {
      const text = textOf(old.rows[at] as Row);
      if (text !== null) places.set(text, [...(places.get(text) ?? []), at]);
    }
    next.rows.forEach((row, at) => {
      const text = names[at] === null ? textOf(row) : null;
      const from = text === null ? undefined : places.get(text)?.shift();
      if (from === undefined) return;
      names[at] = old.rows[from]?.key ?? null;
      left.delete(from);
    });
  };
  match(({ cells }) => join(cells));
  match(({ cells }) => join(cells.filter((_, at) => NAMING.has(columns[at]?.kind ?? "json"))) || null);
  const rows = next.rows.map((row, at) => {
    const inPlace = left.has(at) ? (old.rows[at]?.key ?? null) : null;
    return { ...row, key: names[at] ?? inPlace ?? `~${(namesMade += 1)}` };
  });
  return { ...next, rows };
}

const join = (cells: readonly Cell[]): string => cells.map(({ text }) => text).join("\u0000");

/** The next window after `old`. Throws GapError when the patch is not based on `old`. */
export function applyPatch(
  old: RowWindow,
  patch: Patch,
  columns: readonly Column[],
  sequence: number,
  buffers: readonly DataView[],
  dress: Dress | null = null,
): RowWindow {
  const isOver = patch.base === old.base && (patch.runs === null || patch.start === old.start);
  // Whole rows are right over any others, but those of another request may be other ones.
  if (!isOver && (patch.runs !== null || patch.base < 0)) {
    throw new GapError(`a patch over ${patch.base} at ${patch.start}, window ${old.base} at ${old.start}`);
  }
  if (patch.runs === null) {
    const next = wholeWindow(patch, columns, { sequence, base: sequence }, buffers, dress);
    return patch.keys === null ? named(next, old, columns) : next;
  }
  const arrow = patch.buffer === null ? null : (buffers[patch.buffer] ?? null);
  const fresh = patch.cells !== null && patch.keys !== null
    ? rowsOfCells(patch.cells, columns, patch.keys, dress)
    : decodeRows(arrow, columns, patch.keys, patch.keys?.length ?? 0, 0, dress);
  const rows = patch.runs.flatMap(([from, count]) =>
    from >= 0 ? old.rows.slice(from, from + count) : fresh.slice(-1 - from, -1 - from + count),
  );
  const expected = patch.runs.reduce((sum, [, count]) => sum + count, 0);
  if (rows.length !== expected) throw new GapError(`patch of ${expected} rows gave ${rows.length}`);
  return { start: patch.start, count: patch.count ?? null, sequence, base: sequence, rows };
}
