// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import widget from "../src/entry/table.js";
import { arrow, FakeModel, stateOf } from "./fakes.js";

let end: AbortController;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  end = new AbortController();
});

afterEach(() => {
  end.abort();
  vi.useRealTimers();
  document.body.replaceChildren();
});

/** A cell's output, as livedb/notebook/display.py writes it. */
function output(address: string): HTMLElement {
  const element = document.body.appendChild(document.createElement("div"));
  element.innerHTML = `<div class="livedb-static livedb-at-${address}"><div class="livedb-stored">rows</div></div>`;
  return element;
}

function modelAt(address: string): FakeModel {
  const model = new FakeModel({ address, first_page: {} });
  widget().initialize({ model, signal: end.signal } as never);
  return model;
}

const settled = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
const stored = (element: HTMLElement) => element.querySelector<HTMLElement>(".livedb-stored");
const table = (element: HTMLElement) => element.querySelector(".livedb");

test("the live table takes the place of its stored rows, whichever comes first", async () => {
  const before = output("p1");
  const model = modelAt("p1");
  const after = output("p1");
  const other = output("p2");
  await settled();
  for (const element of [before, after]) {
    expect(table(element)).not.toBeNull();
    expect(stored(element)?.hidden).toBe(true);
  }
  expect(table(other)).toBeNull();
  expect(stored(other)?.hidden).toBe(false);
  expect(new Set(model.sent.map((message) => "view" in message && message.view)).size).toBe(2);
});

test("a place that leaves the page and comes back keeps its table", async () => {
  const element = output("p3");
  const model = modelAt("p3");
  await settled();
  const drawn = table(element);
  element.remove();
  await settled();
  vi.advanceTimersByTime(5_000);
  document.body.append(element);
  await settled();
  vi.advanceTimersByTime(60_000);
  expect(table(element)).toBe(drawn);
  expect(model.sent.some(({ kind }) => kind === "close")).toBe(false);
});

test("a place that stays away gives its table up", async () => {
  const element = output("p4");
  const model = modelAt("p4");
  await settled();
  element.remove();
  await settled();
  vi.advanceTimersByTime(11_000);
  expect(model.last("close").view).toBe(model.last("rows").view);
  expect(table(element)).toBeNull();
  expect(stored(element)?.hidden).toBe(false);
});

test("a closed model leaves the last rows on the page, and says why they do not move", async () => {
  const element = output("p5");
  const model = modelAt("p5");
  await settled();
  const { id } = model.last("rows");
  model.emit("msg:custom", { kind: "reply", id, ...stateOf(0, 1), start: 0, rows: 1, keys: ["a"] }, [arrow(["a"], [7])]);
  model.emit("msg:custom", { kind: "closed", ended: "The workspace is closed." }, []);
  end.abort();
  await settled();
  expect(element.querySelector("tbody")?.textContent).toBe("a7");
  expect(element.querySelector(".livedb-advice")?.textContent).toBe("The workspace is closed.");
  expect(table(element)?.getAttribute("data-state")).toBe("closed");
});

test("a model that is evaluated anew draws in place of what it drew before", async () => {
  const place = output("p9");
  const first = new AbortController();
  const model = new FakeModel({ address: "p9", first_page: {} });
  widget().initialize({ model, signal: first.signal } as never);
  await settled();
  first.abort();
  modelAt("p9");
  await settled();
  expect(place.querySelectorAll(".livedb").length).toBe(1);
});
