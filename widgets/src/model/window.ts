// Which rows a scroll position shows. Pure arithmetic; pixels in, rows out.
//
// A page cannot be taller than about 17 million px (Firefox; Chromium 33), so above that the scroll
// range is scaled: dragging the scrollbar spans all rows, while small movements (a wheel, a
// trackpad) still move by real pixels. The position is therefore a fractional row number that the
// view keeps itself, not something to be read back from scrollTop.

export const SCROLL_PX_MAX = 15_000_000;

export interface Geometry {
  rowCount: number;
  rowPx: number;
  /** Height of the rows' viewport, without the header. */
  viewportPx: number;
}

export interface Range {
  start: number;
  stop: number;
}

/** Height of the scrollable content. */
export function contentPx({ rowCount, rowPx }: Geometry): number {
  return Math.min(rowCount * rowPx, SCROLL_PX_MAX);
}

/** The largest first row: the one that puts the last row at the bottom. */
export function firstRowMax({ rowCount, rowPx, viewportPx }: Geometry): number {
  return Math.max(0, rowCount - viewportPx / rowPx);
}

/** The fractional row at the top for a scroll position. */
export function firstRowAt(scrollTop: number, geometry: Geometry): number {
  const rangePx = contentPx(geometry) - geometry.viewportPx;
  if (rangePx <= 0) return 0;
  return clamp(scrollTop / rangePx, 0, 1) * firstRowMax(geometry);
}

/** The scroll position that stands for a first row. */
export function scrollTopOf(firstRow: number, geometry: Geometry): number {
  const rowMax = firstRowMax(geometry);
  if (rowMax <= 0) return 0;
  return (clamp(firstRow, 0, rowMax) / rowMax) * (contentPx(geometry) - geometry.viewportPx);
}

/** The first row after the scrollbar moved from `before` to `after`. */
export function firstRowAfter(firstRow: number, before: number, after: number, geometry: Geometry): number {
  const endPx = contentPx(geometry) - geometry.viewportPx;
  const isSmall = Math.abs(after - before) < 2 * geometry.viewportPx;
  const isScaled = geometry.rowCount * geometry.rowPx > SCROLL_PX_MAX;
  if (!isScaled || !isSmall || after <= 0 || after >= endPx - 1) return firstRowAt(after, geometry);
  return clamp(firstRow + (after - before) / geometry.rowPx, 0, firstRowMax(geometry));
}

/** The rows that are at least partly visible. */
export function visibleRows(firstRow: number, { rowCount, rowPx, viewportPx }: Geometry): Range {
  const start = clamp(Math.floor(firstRow), 0, rowCount);
  return { start, stop: clamp(Math.ceil(firstRow + viewportPx / rowPx), start, rowCount) };
}

/** The first row that brings `row` fully into view with the least movement. */
export function firstRowShowing(row: number, firstRow: number, geometry: Geometry): number {
  const whole = Math.floor(geometry.viewportPx / geometry.rowPx);
  const last = row + 1 - Math.max(1, geometry.viewportPx / geometry.rowPx);
  if (row < firstRow) return clamp(row, 0, firstRowMax(geometry));
  return row >= firstRow + whole ? clamp(last, 0, firstRowMax(geometry)) : firstRow;
}

/**
 * Rows to hold for a visible range: as much again above and below, at least `margin` rows. It may end
 * beyond the last row: one that is added there comes with the update that adds it.
 */
export function windowFor(visible: Range, margin: number): Range {
  const more = Math.max(margin, visible.stop - visible.start);
  return { start: Math.max(0, visible.start - more), stop: visible.stop + more };
}

/** Whether `held` is enough for `visible`: it shows it, with half the margin left towards more rows. */
export function isEnough(held: Range, visible: Range, rowCount: number, margin: number): boolean {
  const near = Math.floor(margin / 2);
  return (
    held.start <= Math.max(0, visible.start - near) && held.stop >= Math.min(rowCount, visible.stop + near)
  );
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), Math.max(low, high));
}
