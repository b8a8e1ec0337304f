import { describe, expect, test } from "vitest";
import {
  contentPx, firstRowAfter, firstRowAt, firstRowMax, firstRowShowing, isEnough, SCROLL_PX_MAX, scrollTopOf,
  visibleRows, windowFor,
} from "../src/model/window.js";

const geometry = (rowCount: number) => ({ rowCount, rowPx: 26, viewportPx: 390 });

describe.each([0, 1, 15, 16, 1_000, 576_923, 1_000_000, 100_000_000])("with %i rows", (rowCount) => {
  const g = geometry(rowCount);

  test("the content is never taller than a page can be", () => {
    expect(contentPx(g)).toBeLessThanOrEqual(SCROLL_PX_MAX);
  });

  test("the ends of the scrollbar are the ends of the rows", () => {
    expect(visibleRows(firstRowAt(0, g), g).start).toBe(0);
    expect(visibleRows(firstRowAt(contentPx(g) - g.viewportPx, g), g).stop).toBe(rowCount);
  });

  test("a row and its scroll position are inverse", () => {
    for (const share of [0, 0.1, 0.5, 0.999, 1]) {
      const row = firstRowMax(g) * share;
      expect(firstRowAt(scrollTopOf(row, g), g)).toBeCloseTo(row, 4);
    }
  });

  test("every row can be brought into view, and a visible one does not move", () => {
    for (const row of [0, Math.floor(rowCount / 2), rowCount - 1].filter((each) => each >= 0 && each < rowCount)) {
      const first = firstRowShowing(row, firstRowMax(g) / 3, g);
      const { start, stop } = visibleRows(first, g);
      expect(row).toBeGreaterThanOrEqual(start);
      expect(row).toBeLessThan(stop);
      expect(firstRowShowing(row, first, g)).toBe(first);
    }
  });
});

test("below the scaling limit pixels are pixels", () => {
  expect(firstRowAt(260, geometry(1_000))).toBeCloseTo(10);
});

test("a notch of the wheel moves a few rows among a hundred million", () => {
  const g = geometry(100_000_000);
  const after = firstRowAfter(40_000_000, 6_000_000, 6_000_130, g);
  expect(after).toBeCloseTo(40_000_005);
});

test("dragging the scrollbar goes far among a hundred million", () => {
  const g = geometry(100_000_000);
  expect(firstRowAfter(0, 0, SCROLL_PX_MAX / 2, g)).toBeGreaterThan(49_000_000);
});

test("a window has a margin, and is kept until half of that is used up", () => {
  const held = windowFor({ start: 100, stop: 115 }, 30);
  expect(held).toEqual({ start: 70, stop: 145 });
  expect(isEnough(held, { start: 110, stop: 125 }, 1_000, 30)).toBe(true);
  expect(isEnough(held, { start: 120, stop: 135 }, 1_000, 30)).toBe(false);
  expect(isEnough({ start: 0, stop: 20 }, { start: 5, stop: 20 }, 20, 30)).toBe(true);
});
