import { expect, test } from "vitest";
import type { Column, Patch } from "../src/model/messages.js";
import { applyPatch, GapError, wholeWindow } from "../src/model/rows.js";
import { arrow } from "./fakes.js";

const columns: Column[] = [{ name: "_id", kind: "id" }, { name: "n", kind: "float" }];
const window = (keys: string[], values: number[], sequence = 1) =>
  wholeWindow({ start: 5, rows: keys.length, keys, buffer: 0 }, columns, { sequence, base: sequence }, [arrow(keys, values)]);
const patch = (fields: Partial<Patch>): Patch => ({
  view: "v", start: 5, base: 1, rows: 0, keys: [], runs: [], buffer: null, cells: null, ...fields,
});
const drawn = (rows: { key: string | null; cells: { text: string }[] }[]) =>
  rows.map(({ key, cells }) => `${key}=${cells[1]?.text}`);

test("a patch moves, drops, adds and changes rows; the others stay the same objects", () => {
  const old = window(["a", "b", "c", "d"], [1, 2, 3, 4]);
  const next = applyPatch(
    old,
    patch({ keys: ["x", "c"], runs: [[-1, 1], [0, 2], [-2, 1], [3, 1]], buffer: 0 }),
    columns, 2, [arrow(["x", "c"], [9, 30])],
  );
  expect(drawn(next.rows)).toEqual(["x=9", "a=1", "b=2", "c=30", "d=4"]);
  expect(next.rows[1]).toBe(old.rows[0]);
  expect(next.sequence).toBe(2);
});

test("few rows come as JSON, each value as Arrow would have given it", () => {
  const kinds: Column[] = [
    { name: "_id", kind: "id" }, { name: "f", kind: "float" }, { name: "i", kind: "integer" }, { name: "t", kind: "datetime" }, { name: "b", kind: "boolean" },
  ];
  const old = wholeWindow({ start: 5, rows: 0, keys: [], buffer: null }, kinds, { sequence: 1, base: 1 }, []);
  const cells = [
    ["a", "b", "c", "d"], ["nan", "inf", -0, null], ["9007199254740993", 7, -1, null],
    ["9007199254740993000", 1_500_000, -1, null], [true, false, null, null],
  ];
  const next = applyPatch(old, patch({ keys: ["a", "b", "c", "d"], runs: [[-1, 4]], cells }), kinds, 2, []);
  expect(next.rows.map((row) => row.cells.slice(1).map(({ text }) => text))).toEqual([
    ["NaN", "9007199254740993", "9007199254740993000 µs", "true"],
    ["∞", "7", "1970-01-01 00:00:01.500", "false"],
    ["-0", "-1", "1969-12-31 23:59:59.999", "null"],
    ["null", "null", "null", "null"],
  ]);
});

test("a patch over another window is a gap", () => {
  const old = window(["a"], [1]);
  expect(() => applyPatch(old, patch({ base: 2 }), columns, 3, [])).toThrow(GapError);
  expect(() => applyPatch(old, patch({ start: 6 }), columns, 3, [])).toThrow(GapError);
  expect(() => applyPatch(old, patch({ runs: [[0, 5]] }), columns, 3, [])).toThrow(GapError);
});

test("whole rows of a request whose answer never came may be others than those asked for", () => {
  const whole = patch({ base: -7, runs: null, rows: 1, keys: ["p"], buffer: 0 });
  expect(() => applyPatch(window(["a"], [1]), whole, columns, 9, [arrow(["p"], [1])])).toThrow(GapError);
});

test("a whole window replaces any other", () => {
  const next = applyPatch(
    window(["a"], [1]),
    patch({ base: 77, runs: null, rows: 2, keys: ["p", "q"], buffer: 0 }),
    columns, 9, [arrow(["p", "q"], [1, 2])],
  );
  expect(drawn(next.rows)).toEqual(["p=1", "q=2"]);
});

test("a window may be empty", () => {
  expect(wholeWindow({ start: 0, rows: 0, keys: [], buffer: 0 }, columns, { sequence: 1, base: -1 }, [arrow([], [])]).rows).toEqual([]);
});

const SQL: Column[] = [{ name: "origin", kind: "text" }, { name: "flights", kind: "float" }];

/** The names that rows without keys have after `before` became `after`. */
function namesAfter(columns: Column[], before: [string[], number[]], after: [string[], number[]]): (string | undefined)[] {
  const window = (sequence: number, [texts, values]: [string[], number[]]) =>
    wholeWindow({ start: 0, rows: texts.length, keys: null, buffer: 0 }, columns, { sequence, base: sequence }, [arrow(texts, values)]);
  const patch = { view: "v", start: 0, base: 0, rows: after[0].length, keys: null, buffer: 0, runs: null, cells: null };
  return applyPatch(window(0, before), patch, columns, 1, [arrow(...after)]).rows.map(({ key }) => key);
}

test("rows without keys are known by their words when they change places", () => {
  const names = namesAfter(SQL, [["JFK", "EWR", "LGA"], [3, 2, 1]], [["EWR", "JFK", "LGA"], [2, 1, 1]]);
  expect(names).toEqual(["#1", "#0", "#2"]);
});

test("a row that comes in below others that moved up is new", () => {
  const names = namesAfter(SQL, [["a", "b", "c"], [3, 2, 1]], [["b", "c", "d"], [2, 1, 0]]);
  expect(names.slice(0, 2)).toEqual(["#1", "#2"]);
  expect(names[2]).toMatch(/^~/);
});

test("a row of numbers alone is known by its place", () => {
  const numbers: Column[] = [{ name: "a", kind: "json" }, { name: "b", kind: "float" }];
  expect(namesAfter(numbers, [["1"], [10]], [["2"], [20]])).toEqual(["#0"]);
});

test("rows that are equal keep names of their own", () => {
  expect(namesAfter(SQL, [["a", "a"], [1, 1]], [["a", "a"], [1, 1]])).toEqual(["#0", "#1"]);
});
