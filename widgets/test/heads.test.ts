// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Column } from "../src/model/messages.js";
import { barsOf, barText, type Profile, readProfile, share } from "../src/model/profiles.js";
import { initialPlacement, slotsFor } from "../src/model/placement.js";
import { createHeads, type Heads } from "../src/view/heads.js";

const EVIL = "<img src=x onerror=alert(1)>";
const COLUMNS: Column[] = [{ name: "n", kind: "integer" }, { name: EVIL, kind: "text" }];
const N = readProfile({
  name: "n", count: 100, nulls: 4, edges: ["0", "10", "20", "30"], bars: [90, 0, 6], low: "0", high: "29",
});
const TEXT = readProfile({
  name: EVIL, count: 100, nulls: 0, distinct: 3, values: [[EVIL, `=${EVIL}`, 80], ["</script>", "=</script>", 15], ["javascript:alert(1)", null, 5]],
});

let end: AbortController;
let asked: [number, string][];
let left: number;
let heads: Heads;

beforeEach(() => {
  end = new AbortController();
  asked = [];
  left = 0;
  heads = createHeads((column, text) => asked.push([column, text]), () => {}, () => (left += 1), end.signal);
  document.body.append(heads.row);
  heads.setColumns(COLUMNS);
  heads.fit(slotsFor(initialPlacement(COLUMNS), [100, 100], 0, 300, []));
  heads.suggest(true);
});

afterEach(() => {
  end.abort();
  document.body.replaceChildren();
});

const draw = (profiles: Profile[], said: [number, string][] = [], isEnabled = true) =>
  heads.draw(new Map(profiles.entries()), said, isEnabled);
const bars = (column: number) => [...(heads.row.cells[column]?.querySelectorAll<HTMLButtonElement>(".livedb-chart button") ?? [])];
const at = (column: number, bar: number) => bars(column)[bar] as HTMLButtonElement;

test("a bar is told in words, with and without filters", () => {
  expect(barsOf(N).map((bar) => barText(bar, N))).toEqual(
    ["0..<10: 90 rows, 90 %", "10..<20: 0 rows, 0 %", "20..<30: 6 rows, 6 %"]);
  const filtered = readProfile({ ...N, found: { count: 5, nulls: 0, bars: [5, 0, 0] } });
  expect(barsOf(filtered).map((bar) => barText(bar, filtered))[0]).toBe("0..<10: 5 of 90 rows, 90 %");
});

test("a share is never nothing of something, nor all of less", () => {
  expect([share(0, 9), share(1, 1e6), share(999_999, 1e6), share(9, 9)]).toEqual(["0 %", "<1 %", ">99 %", "100 %"]);
});

test("a click on a bar, on a value and on the nulls filters by it", () => {
  draw([N, TEXT]);
  at(0, 2).click();
  at(1, 0).click();
  heads.row.querySelector<HTMLButtonElement>(".livedb-nulls")?.click();
  expect(asked).toEqual([[0, "20..<30"], [1, `=${EVIL}`], [0, "null"]]);
});

test("a drag over bars filters by all of them, and they show it", () => {
  draw([N, TEXT]);
  at(0, 2).dispatchEvent(new PointerEvent("pointerdown", { button: 0, bubbles: true }));
  at(0, 0).dispatchEvent(new PointerEvent("pointerup", { button: 0, bubbles: true }));
  expect(asked).toEqual([[0, "0..<30"]]);
  draw([N, TEXT], [[0, "10..<30"]]);
  expect(bars(0).map((bar) => bar.getAttribute("aria-pressed"))).toEqual(["false", "true", "true"]);
});

test("hostile values stay text, and what no filter can say is no button to press", () => {
  draw([N, TEXT]);
  expect(heads.row.querySelector("img, script")).toBeNull();
  expect(bars(1).map((bar) => bar.textContent)).toEqual([EVIL, "</script>", "javascript:alert(1)"]);
  expect(at(1, 2).disabled).toBe(true);
});

test("an update keeps the focus in its bar", () => {
  draw([N, TEXT]);
  at(0, 1).focus();
  draw([readProfile({ ...N, bars: [1, 2, 3] }), TEXT]);
  expect(document.activeElement).toBe(at(0, 1));
  expect(at(0, 1).title).toBe("10..<20: 2 rows, 2 %");
});

test("the arrow keys go from bar to bar, and Escape back to the rows", () => {
  draw([N, TEXT]);
  heads.focus(0);
  const press = (key: string) =>
    document.activeElement?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  press("End");
  expect(document.activeElement).toBe(at(0, 2));
  press("ArrowLeft");
  expect(document.activeElement).toBe(at(0, 1));
  press("Escape");
  expect(left).toBe(1);
});

test("a profile of a column that moved is not drawn, and without a kernel nothing can be pressed", () => {
  draw([TEXT, N]);
  expect(bars(0)).toEqual([]);
  draw([N, TEXT], [], false);
  expect(bars(0).every(({ disabled }) => disabled)).toBe(true);
});

test("the reader's choice to hide the row outweighs how much there is to tell", () => {
  heads.toggle.click();
  heads.suggest(true);
  expect(heads.row.hidden).toBe(true);
});
