// Which columns a reader sees, in what order and how wide, and which of them the page holds. No DOM.
//
// Of thousands of columns a page holds those in sight and some beside them; gaps stand for the others.

import { isPlacedAlike } from "./formats.js";
import type { Column } from "./messages.js";

export const WIDTH_PX_LEAST = 36;
export const WIDTH_PX_MOST = 2_000;

/** px beside those in sight of which columns are held too, so that a small scroll changes nothing. */
const MARGIN_PX = 400;

/** How much of the view pinned columns may take; those beyond scroll with the others. */
const PINNED_SHARE = 0.6;

/** How a reader of a view wants the columns, which are named by their positions in the result. */
export interface Placement {
  /** Those shown, in their order. */
  shown: readonly number[];
  /** How many of the first ones stay in sight. */
  pinned: number;
  /** px of those whose width the reader chose. */
  widths: ReadonlyMap<number, number>;
}

/** A column that the page holds. Below zero it is a gap: the columns between its neighbours. */
export interface Slot {
  column: number;
  /** Its place among those shown, from 0. */
  place: number;
  px: number;
  /** px from the left edge at which it stays; null if it scrolls. */
  leftPx: number | null;
}

/** As the formats of the columns have it; all are shown where none would be. */
export function initialPlacement(columns: readonly Column[]): Placement {
  const all = [...columns.keys()];
  const formatOf = (column: number): Column["format"] => columns[column]?.format;
  const some = all.filter((column) => formatOf(column)?.hidden !== true);
  const shown = some.length > 0 ? some : all;
  const [stuck, others] = [true, false].map((isPinned) => shown.filter((column) => (formatOf(column)?.pinned ?? false) === isPinned));
  const widths = new Map(shown.flatMap((column): [number, number][] => {
    const px = formatOf(column)?.width;
    return px == null ? [] : [[column, px]];
  }));
  return { shown: [...(stuck ?? []), ...(others ?? [])], pinned: stuck?.length ?? 0, widths };
}

/** The slots for what is in sight, `before` itself if that will do; pass [] where widths changed. */
export function slotsFor(
  { shown, pinned }: Placement,
  widths: readonly number[],
  scrollLeft: number,
  viewPx: number,
  before: readonly Slot[],
): readonly Slot[] {
  const lefts = [0];
  for (const column of shown) lefts.push((lefts.at(-1) ?? 0) + (widths[column] ?? 0));
  const leftOf = (place: number): number => lefts[place] ?? 0;
  let stuck = Math.min(pinned, shown.length);
  while (leftOf(stuck) > PINNED_SHARE * viewPx) stuck -= 1;
  const inSight = (marginPx: number): [number, number] => {
    let [start, stop] = [stuck, shown.length];
    while (start < stop && leftOf(start + 1) <= scrollLeft + leftOf(stuck) - marginPx) start += 1;
    while (stop > start && leftOf(stop - 1) >= scrollLeft + viewPx + marginPx) stop -= 1;
    return [start, stop];
  };
  const [start, stop] = inSight(0);
  const held = before.filter(({ column, leftPx }) => column >= 0 && leftPx === null);
  const holds = held.length > 0 && (held[0]?.place ?? 0) <= start && (held.at(-1)?.place ?? -1) >= stop - 1;
  const isAsBefore = holds && before.filter(({ leftPx }) => leftPx !== null).length === stuck;
  if (isAsBefore) return before;
  const [first, end] = inSight(MARGIN_PX);
  const slot = (place: number, isStuck: boolean): Slot => ({
    column: shown[place] ?? 0, place, px: leftOf(place + 1) - leftOf(place), leftPx: isStuck ? leftOf(place) : null,
  });
  const gap = (column: number, from: number, to: number): Slot[] =>
    to > from ? [{ column, place: from, px: leftOf(to) - leftOf(from), leftPx: null }] : [];
  return [
    ...shown.slice(0, stuck).map((_, place) => slot(place, true)),
    ...gap(-1, stuck, first),
    ...shown.slice(first, end).map((_, at) => slot(first + at, false)),
    ...gap(-2, end, shown.length),
  ];
}

/**
 * The same wishes when columns moved. Those that are gone go; those that are new stand where the result
 * has them, or last if the reader chose an order. Where a format has another place for its column, all begins
 * anew.
 */
export function carriedToColumns(
  { shown, pinned, widths }: Placement,
  before: readonly Column[],
  after: readonly Column[],
): Placement {
  const nowAt = new Map(after.map(({ name }, at) => [name, at]));
  const isPlacedAnew = before.some(({ name, format }) => nowAt.has(name) && !isPlacedAlike(format, after[nowAt.get(name) ?? 0]?.format));
  if (isPlacedAnew) return initialPlacement(after);
  const moved = (columns: Iterable<number>): number[] =>
    [...columns].flatMap((column) => nowAt.get(before[column]?.name ?? "") ?? []);
  const known = new Set(before.map(({ name }) => name));
  const fresh = [...after.keys()].filter((at) => !known.has(after[at]?.name ?? "") && after[at]?.format?.hidden !== true);
  const all = [...moved(shown), ...fresh];
  return {
    shown: isOrdered(shown, pinned) ? all : all.sort((one, other) => one - other),
    pinned: moved(shown.slice(0, pinned)).length,
    widths: new Map([...widths].flatMap(([column, px]) => moved([column]).map((at): [number, number] => [at, px]))),
  };
}

/** With a column at another place; one that comes among the pinned is pinned, and the other way round. */
export function moved({ shown, pinned, widths }: Placement, column: number, place: number): Placement {
  const from = shown.indexOf(column);
  const others = shown.filter((each) => each !== column);
  const to = Math.max(0, Math.min(place, others.length));
  const pinnedOthers = pinned - (from >= 0 && from < pinned ? 1 : 0);
  return { shown: [...others.slice(0, to), column, ...others.slice(to)], pinned: pinnedOthers + (to < pinned ? 1 : 0), widths };
}

/** With a column pinned after the pinned ones, or let go to be the first of the others. */
export function pinned(placement: Placement, column: number): Placement {
  const isPinned = placement.shown.indexOf(column) < placement.pinned;
  const others = placement.shown.filter((each) => each !== column);
  const count = placement.pinned - (isPinned ? 1 : 0);
  return { ...placement, shown: [...others.slice(0, count), column, ...others.slice(count)], pinned: count + (isPinned ? 0 : 1) };
}

/** Without a column, or with it at its place in the result; the last one shown stays. */
export function toggled({ shown, pinned: count, widths }: Placement, column: number): Placement {
  const at = shown.indexOf(column);
  if (at >= 0) {
    if (shown.length === 1) return { shown, pinned: count, widths };
    return { shown: shown.filter((each) => each !== column), pinned: count - (at < count ? 1 : 0), widths };
  }
  const after = shown.findIndex((each, place) => place >= count && each > column);
  const place = after < 0 ? shown.length : after;
  return { shown: [...shown.slice(0, place), column, ...shown.slice(place)], pinned: count, widths };
}

/** With every column shown, those that were hidden at their places. */
export function completed(placement: Placement, columnCount: number): Placement {
  const shown = new Set(placement.shown);
  return [...Array(columnCount).keys()].filter((column) => !shown.has(column)).reduce(toggled, placement);
}

/** Whether a reader chose an order. */
const isOrdered = (shown: readonly number[], pinnedCount: number): boolean =>
  pinnedCount > 0 || shown.some((column, place) => column < (shown[place - 1] ?? -1));

/** With a column so wide; null gives it back the width of its texts. */
export function widened(placement: Placement, column: number, px: number | null): Placement {
  const widths = new Map(placement.widths);
  if (px === null) widths.delete(column);
  else widths.set(column, Math.round(Math.max(WIDTH_PX_LEAST, Math.min(px, WIDTH_PX_MOST))));
  return { ...placement, widths };
}
