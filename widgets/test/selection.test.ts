// @vitest-environment happy-dom
import { expect, test, vi } from "vitest";
import { type FakeModel, mount, stateOf } from "./fakes.js";

const KEYS = ["a", "b", "c", "d"];
const settled = (ms = 90) => new Promise((resolve) => setTimeout(resolve, ms));

async function shown(rowCount = 4) {
  const { model, el } = mount({}, stateOf(0, rowCount), KEYS, [1, 2, 3, 4]);
  await settled();
  const table = el.querySelector("table") as HTMLTableElement;
  const press = (key: string, more: KeyboardEventInit = {}) =>
    table.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  const click = (row: number, more: MouseEventInit = {}) =>
    el.querySelectorAll("tbody td[data-column='1']")[row]?.dispatchEvent(new MouseEvent("mousedown", { bubbles: true, ...more }));
  const selected = () => [...el.querySelectorAll("tbody tr[aria-selected=true]")].map((row) => row.textContent?.[0]);
  return { model, el, table, press, click, selected };
}

const keysSent = (model: FakeModel) => {
  const sent = model.last("select");
  return "keys" in sent ? [...sent.keys] : null;
};

test("with none selected it is the active row", async () => {
  const { model, click, selected } = await shown();
  click(1);
  await settled();
  expect([selected(), keysSent(model)]).toEqual([["b"], ["b"]]);
  expect(model.last("select").cell).toEqual(["b", 1]);
});

test("Control adds and takes away, Shift selects up to the row, and both ways the kernel hears", async () => {
  const { model, click, selected } = await shown();
  click(0);
  click(2, { ctrlKey: true });
  await settled();
  expect([selected(), keysSent(model)]).toEqual([["a", "c"], ["a", "c"]]);
  click(0, { ctrlKey: true });
  await settled();
  expect(selected()).toEqual(["c"]);
  click(1);
  click(3, { shiftKey: true });
  await settled();
  expect([selected(), keysSent(model)]).toEqual([["b", "c", "d"], ["b", "c", "d"]]);
  click(2, { shiftKey: true });
  await settled();
  expect(selected()).toEqual(["b", "c"]);
});

test("keys select too, and Escape selects nothing before it leaves the table", async () => {
  const { press, selected, table } = await shown();
  press("ArrowDown");
  press(" ");
  press("ArrowDown");
  press("ArrowDown");
  press(" ");
  await settled();
  expect(selected()).toEqual(["a", "c"]);
  press("ArrowUp", { shiftKey: true });
  await settled();
  expect(selected()).toEqual(["b", "c"]);
  press("Escape");
  await settled();
  expect(selected()).toEqual(["b"]);
  expect(table.getAttribute("aria-activedescendant")).not.toBeNull();
});

test("rows that the page does not hold are selected by the kernel", async () => {
  const { model, press, selected, el } = await shown(20_000);
  press("ArrowDown");
  press("a", { ctrlKey: true });
  const asked = model.last("select");
  expect(asked).toMatchObject({ start: 0, stop: 20_000 });
  model.emit("msg:custom", { kind: "selected", id: asked.id, keys: [...KEYS, "e"] }, []);
  await settled();
  expect(selected()).toEqual(KEYS);
  expect(el.querySelector(".livedb-said")?.textContent).toBe("The first 5 of them are selected.");
});

test("selected rows are copied as lines of the columns shown", async () => {
  const { click, table } = await shown();
  click(0);
  click(1, { shiftKey: true });
  await settled();
  const copied = new Map<string, string>();
  const event = Object.assign(new Event("copy", { bubbles: true, cancelable: true }), {
    clipboardData: { setData: (type: string, text: string) => copied.set(type, text) },
  });
  table.dispatchEvent(event);
  expect(copied.get("text/plain")).toBe("a\t1\nb\t2");
  expect(event.defaultPrevented).toBe(true);
});

test("a file comes in parts, and a refusal in words", async () => {
  const { model, el, click } = await shown();
  const made: Blob[] = [];
  vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => {
    made.push(blob as Blob);
    return "blob:x";
  });
  click(0);
  [...el.querySelectorAll<HTMLButtonElement>(".livedb-tools button")].find((each) => each.textContent === "export")?.click();
  const csv = [...el.querySelectorAll<HTMLButtonElement>(".livedb-places button")].find((each) => each.textContent === "CSV");
  csv?.click();
  const asked = model.last("export");
  expect(asked).toMatchObject({ format: "csv", columns: [0, 1], selected: false });
  const bytes = (text: string) => new DataView(new TextEncoder().encode(text).buffer);
  model.emit("msg:custom", { kind: "file", id: asked.id, name: "t.csv", part: 1, parts: 2 }, [bytes("2")]);
  model.emit("msg:custom", { kind: "file", id: asked.id, name: "t.csv", part: 0, parts: 2 }, [bytes("1,")]);
  await settled();
  expect(await made[0]?.text()).toBe("1,2");
  expect(el.querySelector(".livedb-said")?.textContent).toBe("Wrote t.csv.");
  csv?.click();
  model.emit("msg:custom", { kind: "file", id: model.last("export").id, failed: "These rows are too many." }, []);
  await settled();
  expect(el.querySelector(".livedb-said")?.textContent).toBe("These rows are too many.");
  vi.restoreAllMocks();
});
