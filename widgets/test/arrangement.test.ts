// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import widget from "../src/entry/table.js";
import { carriedOver, filtered, pressed } from "../src/model/arrangement.js";
import { arrow, COLUMNS, FakeModel, stateOf } from "./fakes.js";

let end: AbortController;

beforeEach(() => {
  end = new AbortController();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});

afterEach(() => {
  end.abort();
  vi.useRealTimers();
  document.body.replaceChildren();
});

const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

async function shown() {
  const model = new FakeModel({ address: "dom", first_page: {} });
  const { initialize, render } = widget();
  const el = document.body.appendChild(document.createElement("div"));
  const props = { model, el, signal: end.signal } as unknown as Parameters<typeof render>[0];
  initialize(props);
  render(props);
  await answer(model, ["a", "b", "c"], [1, 2, 3]);
  return { model, el };
}

async function answer(model: FakeModel, keys: string[], values: number[], state = stateOf(0, 3), more = {}) {
  const { id } = model.last("rows");
  model.emit("msg:custom", { kind: "reply", id, ...state, start: 0, rows: keys.length, keys, ...more }, [arrow(keys, values)]);
  await frame();
}

const head = (el: HTMLElement, at: number) => el.querySelectorAll("th")[at] as HTMLTableCellElement;
const press = (el: HTMLElement, key: string) =>
  el.querySelector("table")?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const button = (el: HTMLElement, text: string) =>
  [...el.querySelectorAll("button")].find((each) => each.textContent === text) as HTMLButtonElement;
function type(input: HTMLInputElement, text: string): void {
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  vi.advanceTimersByTime(500);
}

test("a column is sorted up, down and not at all; with Shift it is added", () => {
  expect(pressed([], 1, false)).toEqual([[1, false]]);
  expect(pressed([[1, false]], 1, false)).toEqual([[1, true]]);
  expect(pressed([[1, true]], 1, false)).toEqual([]);
  expect(pressed([[1, true]], 2, false)).toEqual([[2, false]]);
  expect(pressed([[1, true]], 2, true)).toEqual([[1, true], [2, false]]);
  expect(pressed([[1, true], [2, false]], 1, true)).toEqual([[2, false]]);
  expect(pressed([[1, false], [2, false]], 1, true)).toEqual([[1, true], [2, false]]);
});

test("a filter without text is none", () => {
  expect(filtered([[0, "x"]], 0, " ")).toEqual([]);
  expect(filtered([[0, "x"]], 1, " y ")).toEqual([[0, "x"], [1, "y"]]);
});

test("wishes go with their columns", () => {
  const columns = (...names: string[]) => names.map((name) => ({ name, kind: "text" as const }));
  const wishes = { sorts: [[0, true], [1, false]] as [number, boolean][], filters: [[1, "x"]] as [number, string][], search: "s" };
  expect(carriedOver(wishes, columns("a", "b"), columns("new", "b"))).toEqual(
    { sorts: [[1, false]], filters: [[1, "x"]], search: "s" });
});

test("pressing a head asks the kernel, and says so to who does not see it", async () => {
  const { model, el } = await shown();
  head(el, 1).click();
  expect(model.last("rows").arrangement).toEqual({ sorts: [[1, false]], filters: [], search: "" });
  await answer(model, ["c", "b", "a"], [1, 2, 3], stateOf(0, 3), { count: 3 });
  expect(head(el, 1).getAttribute("aria-sort")).toBe("ascending");
  expect(head(el, 0).getAttribute("aria-sort")).toBe("none");
  head(el, 0).dispatchEvent(new MouseEvent("click", { shiftKey: true, bubbles: true }));
  expect(model.last("rows").arrangement?.sorts).toEqual([[1, false], [0, false]]);
  await frame();
  expect(head(el, 0).dataset["sort"]).toBe("▲2");
});

test("a search and filters are asked for when their reader pauses", async () => {
  const { model, el } = await shown();
  type(el.querySelector("input[type=search]") as HTMLInputElement, "oslo");
  expect(model.last("rows").arrangement).toEqual({ sorts: [], filters: [], search: "oslo" });
  button(el, "filter").click();
  type(el.querySelectorAll<HTMLInputElement>(".livedb-filters input")[1] as HTMLInputElement, ">1");
  expect(model.last("rows").arrangement).toEqual({ sorts: [], filters: [[1, ">1"]], search: "oslo" });
  await answer(model, ["b"], [2], stateOf(0, 3), { count: 1 });
  expect(el.querySelector(".livedb-size")?.textContent).toBe("1 row of 3");
  expect(el.querySelector("table")?.getAttribute("aria-rowcount")).toBe("2");
  await answer(model, [], [], stateOf(0, 3), { count: 0 });
  button(el, "clear").click();
  expect(model.last("rows").arrangement).toBeNull();
});

test("who types on before the kernel was asked loses nothing", async () => {
  const { model, el } = await shown();
  button(el, "filter").click();
  const inputs = el.querySelectorAll<HTMLInputElement>(".livedb-filters input");
  for (const [at, text] of ["a", ">1"].entries()) {
    const input = inputs[at] as HTMLInputElement;
    input.value = text;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    vi.advanceTimersByTime(50);
  }
  vi.advanceTimersByTime(500);
  expect(model.last("rows").arrangement?.filters).toEqual([[0, "a"], [1, ">1"]]);
  button(el, "filter").click();
  expect(model.last("rows").arrangement).toBeNull();
});

test("new columns keep what is asked of those that stay", async () => {
  const { model, el } = await shown();
  head(el, 1).click();
  await answer(model, ["a"], [1]);
  const { view } = model.last("rows");
  const state = { ...stateOf(1, 1), columns: [["n", "float"], COLUMNS[0]] };
  const patch = { view, start: 0, base: 0, rows: 1, keys: ["a"], buffer: 0 };
  model.emit("msg:custom",
    { kind: "batch", batch: 1, entries: [{ address: "dom", buffers: 0, ...state, views: [patch] }] }, [arrow(["a"], [2])]);
  await frame();
  expect(model.last("rows").arrangement?.sorts).toEqual([[0, false]]);
});

test("the keyboard sorts, filters and searches; Escape gives the table the keys again", async () => {
  const { model, el } = await shown();
  press(el, "ArrowRight");
  press(el, "s");
  expect(model.last("rows").arrangement?.sorts).toEqual([[1, false]]);
  press(el, "f");
  const filter = el.querySelectorAll<HTMLInputElement>(".livedb-filters input")[1];
  expect(document.activeElement).toBe(filter);
  filter?.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  expect(document.activeElement).toBe(el.querySelector("table"));
  press(el, "/");
  expect(document.activeElement).toBe(el.querySelector("input[type=search]"));
});
