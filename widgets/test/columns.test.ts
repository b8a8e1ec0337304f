import { expect, test } from "vitest";
import { cellOf } from "../src/model/cells.js";
import { layOut, pointPaddingPx } from "../src/model/columns.js";

const fonts = { plainPx: (text: string) => 7 * text.length, headPx: (text: string) => 8 * text.length, monospacePx: (text: string) => 7 * text.length };
const NONE = { widths: [], fractions: [] };

const floats = (...values: number[]) => values.map((value) => ({ key: String(value), cells: [cellOf(value, "float")] }));

test("the points of a column stand in line", () => {
  const rows = floats(1, 20.5, 3.125, 1e300, Number.NaN);
  const { fractions } = layOut([{ name: "x", kind: "float" }], rows, "rows", NONE, fonts);
  expect(fractions).toEqual([3]);
  const paddings = rows.map(({ cells }) => pointPaddingPx(cells[0] ?? cellOf(null, "float"), 3, fonts));
  expect(paddings).toEqual([28, 14, 0, 0, 0]);
});

test("a column never shrinks, and is as wide as its widest text", () => {
  const columns = [{ name: "x", kind: "float" as const }];
  const wide = layOut(columns, floats(123456.25), "rows", NONE, fonts);
  expect(wide.widths).toEqual([9 * 7 + 26]);
  expect(layOut(columns, floats(1), "rows", wide, fonts)).toEqual(wide);
});
