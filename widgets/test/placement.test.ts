import { expect, test } from "vitest";
import {
  initialPlacement, carriedToColumns, completed, moved, pinned, type Placement, slotsFor, toggled, widened,
} from "../src/model/placement.js";
import type { Column } from "../src/model/messages.js";

const named = (...names: string[]): Column[] => names.map((name) => ({ name, kind: "integer" }));
const MANY = initialPlacement(named(...Array.from({ length: 5_000 }, (_, at) => `c${at}`)));
const WIDTHS = MANY.shown.map(() => 100);

const columnsOf = (slots: ReturnType<typeof slotsFor>) => slots.filter(({ column }) => column >= 0).map(({ column }) => column);
const pxOf = (slots: ReturnType<typeof slotsFor>) => slots.reduce((sum, { px }) => sum + px, 0);

test("of thousands of columns those in sight and some beside them are held", () => {
  for (const left of [0, 12_345, 499_200]) {
    const slots = slotsFor(MANY, WIDTHS, left, 800, []);
    expect(pxOf(slots)).toBe(500_000);
    const held = columnsOf(slots);
    expect(held.length).toBeLessThan(24);
    for (let px = left; px < left + 800; px += 100) expect(held).toContain(Math.floor(px / 100));
  }
});

test("a small scroll holds the very same slots, a far one others", () => {
  const slots = slotsFor(MANY, WIDTHS, 10_000, 800, []);
  expect(slotsFor(MANY, WIDTHS, 10_300, 800, slots)).toBe(slots);
  expect(slotsFor(MANY, WIDTHS, 10_700, 800, slots)).not.toBe(slots);
});

test("a page that is not laid out holds every column", () => {
  expect(columnsOf(slotsFor(MANY, WIDTHS, 0, Number.POSITIVE_INFINITY, []))).toHaveLength(5_000);
});

test("pinned columns are held wherever the reader is, unless they would fill the view", () => {
  const placement = pinned(pinned(MANY, 7), 3);
  const slots = slotsFor(placement, WIDTHS, 200_000, 800, []);
  expect(slots.slice(0, 3).map(({ column, leftPx }) => [column, leftPx])).toEqual([[7, 0], [3, 100], [-1, null]]);
  expect(pxOf(slots)).toBe(500_000);
  expect(slotsFor(placement, WIDTHS, 0, 250, []).filter(({ leftPx }) => leftPx !== null)).toHaveLength(1);
});

test("a column is moved, pinned and let go, hidden and shown again", () => {
  const some = initialPlacement(named("a", "b", "c", "d"));
  expect(moved(some, 0, 2).shown).toEqual([1, 2, 0, 3]);
  expect(moved(some, 3, -5).shown).toEqual([3, 0, 1, 2]);
  const held = pinned(some, 2);
  expect([held.shown, held.pinned]).toEqual([[2, 0, 1, 3], 1]);
  expect([pinned(held, 2).shown, pinned(held, 2).pinned]).toEqual([[2, 0, 1, 3], 0]);
  expect(moved(held, 3, 0).pinned).toBe(2);
  expect(moved(held, 2, 3).pinned).toBe(0);
  const hidden = toggled(held, 2);
  expect([hidden.shown, hidden.pinned]).toEqual([[0, 1, 3], 0]);
  expect(toggled(hidden, 2).shown).toEqual([0, 1, 2, 3]);
  const last = initialPlacement(named("a"));
  expect(toggled(last, 0).shown).toEqual([0]);
});

test("all are shown again, each at its place in the result", () => {
  const some = initialPlacement(named("a", "b", "c"));
  expect(completed(toggled(some, 1), 3).shown).toEqual([0, 1, 2]);
  expect(completed(toggled(pinned(some, 2), 0), 3).shown).toEqual([2, 0, 1]);
});

test("a width is kept within bounds, and given back", () => {
  const some = initialPlacement(named("a"));
  expect([widened(some, 0, 1e9), widened(some, 0, -4), widened(some, 0, 99.6)].map(({ widths }) => widths.get(0)))
    .toEqual([2_000, 36, 100]);
  expect(widened(widened(some, 0, 80), 0, null).widths.size).toBe(0);
});

test("wishes follow their columns by name", () => {
  const before = named("a", "b", "c");
  const wishes: Placement = widened(pinned(toggled(initialPlacement(before), 0), 2), 1, 80);
  const after = carriedToColumns(wishes, before, named("c", "x", "b", "a"));
  expect(after.shown.map((at) => ["c", "x", "b", "a"][at])).toEqual(["c", "b", "x"]);
  expect(after.pinned).toBe(1);
  expect([...after.widths]).toEqual([[2, 80]]);
});

test("a new column stands where the result has it while the reader has chosen no order", () => {
  expect(carriedToColumns(initialPlacement(named("a", "c")), named("a", "c"), named("a", "b", "c")).shown).toEqual([0, 1, 2]);
});
