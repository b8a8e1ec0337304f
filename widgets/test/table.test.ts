// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { arrow, COLUMNS, mount, stateOf } from "./fakes.js";

const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

async function shown(state: Record<string, unknown>, keys: string[], values: number[]) {
  const { model, el } = mount({}, state, keys, values);
  await frame();
  return { model, el };
}

const texts = (el: HTMLElement) => [...el.querySelectorAll("tbody td")].map((cell) => cell.textContent);

test("rows, header, footer and roles", async () => {
  const { el } = await shown(stateOf(0, 2), ["a", "b"], [1, 2]);
  expect(texts(el)).toEqual(["a", "1", "b", "2"]);
  expect(el.querySelector("table")?.getAttribute("role")).toBe("grid");
  expect(el.querySelector("table")?.getAttribute("aria-rowcount")).toBe("3");
  expect(el.querySelector(".livedb-footer")?.textContent).toBe("●live2 rowscommit 1");
});

test("a result without rows says so, also when it has no columns", async () => {
  const { el } = await shown({ ...stateOf(0, 0), columns: [] }, [], []);
  const empty = el.querySelector<HTMLElement>(".livedb-empty");
  expect([empty?.hidden, empty?.textContent]).toEqual([false, "no rows"]);
  const failed = await shown({ ...stateOf(0, 0), columns: [], error: "ValueError: boom" }, [], []);
  expect(failed.el.querySelector<HTMLElement>(".livedb-empty")?.hidden).toBe(true);
});

test("what looks like markup stays text everywhere", async () => {
  const evil = "<img src=x onerror=alert(1)>";
  const state = { ...stateOf(0, 1), title: evil, error: evil, columns: [[evil, "text"], COLUMNS[1]] };
  const { el } = await shown(state, [evil], [1]);
  expect(el.querySelector("img")).toBeNull();
  expect(texts(el)[0]).toBe(evil);
  expect(el.querySelector("th")?.textContent).toBe(evil);
  expect(el.querySelector(".livedb-error")?.textContent).toBe(evil);
  expect(el.querySelector(".livedb-title")?.textContent).toBe(evil);
});

test("arrow keys move the active cell, and it follows its row", async () => {
  const { model, el } = await shown(stateOf(0, 2), ["a", "b"], [1, 2]);
  const table = el.querySelector("table");
  for (const key of ["ArrowDown", "ArrowDown", "ArrowRight"]) {
    table?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  }
  await frame();
  const active = () => document.getElementById(table?.getAttribute("aria-activedescendant") ?? "");
  expect(active()?.textContent).toBe("2");
  const { view, id } = model.last("rows");
  const patch = { view, start: 0, base: -id, runs: [[-1, 1], [0, 2]], keys: ["new"], buffer: 0 };
  model.emit("msg:custom",
    { kind: "batch", batch: 1, entries: [{ address: "dom", buffers: 0, ...stateOf(1, 3), views: [patch] }] },
    [arrow(["new"], [9])]);
  await frame();
  expect(texts(el)).toEqual(["new", "9", "a", "1", "b", "2"]);
  expect(active()?.textContent).toBe("2");
});

test("new columns replace the old ones", async () => {
  const { model, el } = await shown(stateOf(0, 1), ["a"], [1]);
  const { view, id } = model.last("rows");
  const state = { ...stateOf(1, 1), columns: [["_id", "id"], ["renamed", "float"]] };
  const patch = { view, start: 0, base: -id, rows: 1, keys: ["a"], buffer: 0 };
  model.emit("msg:custom",
    { kind: "batch", batch: 1, entries: [{ address: "dom", buffers: 0, ...state, views: [patch] }] }, [arrow(["a"], [2])]);
  await frame();
  expect([...el.querySelectorAll("th")].map((cell) => cell.textContent)).toEqual(["_id", "renamed"]);
  expect(texts(el)).toEqual(["a", "2"]);
});

