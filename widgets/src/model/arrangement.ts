// How a reader of a view wants its rows; mirrors livedb/notebook/arrangement.py, which does it. No DOM.

import type { Column } from "./messages.js";

/** [position of the column, whether descending], the most important first. */
export type Sort = [number, boolean];

/** [position of the column, what its values must be]. */
export type Filter = [number, string];

export interface Arrangement {
  sorts: readonly Sort[];
  filters: readonly Filter[];
  search: string;
}

export const PLAIN: Arrangement = { sorts: [], filters: [], search: "" };

export const SORTS_MAX = 8;
export const TEXT_CHARACTERS_MAX = 200;

export function isPlain({ sorts, filters, search }: Arrangement): boolean {
  return sorts.length === 0 && filters.length === 0 && search === "";
}

/** The sorts after a column's head was pressed: ascending, then descending, then none by it. */
export function pressed(sorts: readonly Sort[], column: number, adds: boolean): Sort[] {
  const at = sorts.findIndex(([each]) => each === column);
  const others: Sort[] = adds ? sorts.filter(([each]) => each !== column) : [];
  const known = sorts[at];
  if (known === undefined) return [...others, [column, false] as Sort].slice(-SORTS_MAX);
  if (known[1]) return [...others];
  if (!adds) return [[column, true]];
  return sorts.map((sort, index): Sort => (index === at ? [column, true] : sort));
}

/** The filters when that of a column says `text`; "" takes it away. */
export function filtered(filters: readonly Filter[], column: number, text: string): Filter[] {
  const others = filters.filter(([each]) => each !== column);
  const says = text.trim().slice(0, TEXT_CHARACTERS_MAX);
  return says === "" ? others : [...others, [column, says]];
}

/** The same wishes when columns moved; those for columns that are gone are dropped. */
export function carriedOver(
  { sorts, filters, search }: Arrangement,
  before: readonly Column[],
  after: readonly Column[],
): Arrangement {
  const place = (column: number): number => after.findIndex(({ name }) => name === before[column]?.name);
  const moved = <T,>(wishes: readonly [number, T][]): [number, T][] =>
    wishes.map(([column, wish]): [number, T] => [place(column), wish]).filter(([column]) => column >= 0);
  return { sorts: moved(sorts), filters: moved(filters), search };
}

export function isSame(one: Arrangement, other: Arrangement): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
