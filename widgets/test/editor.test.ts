// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { arrow, type FakeModel, mount, stateOf } from "./fakes.js";

const settled = () => new Promise((resolve) => requestAnimationFrame(resolve));

async function shown(editable = true) {
  const { model, el } = mount({ editable }, stateOf(0, 2), ["a", "b"], [1, 2]);
  await settled();
  return { model, el };
}

function press(target: Element | null | undefined, key: string, more: KeyboardEventInit = {}): void {
  target?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
}

async function answer(model: FakeModel, outcome: Record<string, unknown>): Promise<void> {
  const { id } = model.last("edit");
  model.emit("msg:custom",
    { kind: "outcome", id, state: "done", text: "", problem: null, key: null, field: null, number: 1, ...outcome }, []);
  await settled();
}

async function opened() {
  const { model, el } = await shown();
  const table = el.querySelector("table");
  for (const key of ["ArrowDown", "ArrowRight", "Enter"]) press(table, key);
  await answer(model, { state: "open", text: "2.50" });
  const input = el.querySelector("textarea") as HTMLTextAreaElement;
  return { model, el, table, input };
}

test("what a cell holds exactly is edited, and committed with Enter", async () => {
  const { model, el, input } = await opened();
  expect(input.value).toBe("2.50");
  expect(input.readOnly).toBe(false);
  input.value = "7";
  press(input, "Enter");
  expect(model.last("edit")).toMatchObject({ step: "commit", text: "7", overwrites: false });
  expect(el.querySelector("textarea")?.value).toBe("7"); // until the row has come
  await answer(model, { number: 1 });
  expect(el.querySelector("textarea")).toBeNull(); // the table is at that commit already
});

test("a conflict is shown, and written over only when its reader says so", async () => {
  const { model, el, input } = await opened();
  input.value = "7";
  press(input, "Enter");
  await answer(model, { state: "changed", text: "9", problem: "Changed meanwhile to '9'." });
  expect(el.querySelector(".livedb-problem")?.textContent)
    .toBe("Enter: write yours over it. Escape: keep it. Changed meanwhile to '9'."); // what to do comes first
  expect(input.value).toBe("7");
  press(input, "Enter");
  expect(model.last("edit")).toMatchObject({ step: "commit", text: "7", overwrites: true });
});

test("an update of its row leaves an edit as it is", async () => {
  const { model, el, input } = await opened();
  input.value = "7";
  const { view, id } = model.last("rows");
  const patch = { view, start: 0, base: -id, runs: [[1, 1], [-1, 1]], keys: ["a"], buffer: 0 };
  model.emit("msg:custom",
    { kind: "batch", batch: 1, entries: [{ address: "dom", buffers: 0, ...stateOf(1, 2), views: [patch] }] },
    [arrow(["a"], [9])]);
  await settled();
  expect(el.querySelector("textarea")).toBe(input);
  expect(input.value).toBe("7");
});

test("a message that is too long says so", async () => {
  const { model, el, input } = await opened();
  press(input, "Enter");
  await answer(model, { state: "refused", problem: "x".repeat(1_000) });
  expect(el.querySelector(".livedb-problem")?.textContent).toBe(`${"x".repeat(299)}…`);
});

test("an edit whose row goes out of sight stands under the rows and says whose it is", async () => {
  const { model, el, input } = await opened();
  const edit = input.parentElement as HTMLElement;
  expect(edit.style.left).not.toBe("");
  expect(el.querySelector<HTMLElement>(".livedb-whose")?.hidden).toBe(true);
  const { view, id } = model.last("rows");
  const patch = { view, start: 0, base: -id, runs: [[-1, 1], [1, 1]], keys: ["c"], buffer: 0 };
  model.emit("msg:custom",
    { kind: "batch", batch: 1, entries: [{ address: "dom", buffers: 0, ...stateOf(1, 2), views: [patch] }] },
    [arrow(["c"], [9])]);
  await settled();
  expect(edit.classList.contains("livedb-away")).toBe(true);
  expect([edit.style.left, edit.style.top, edit.style.minHeight]).toEqual(["", "", ""]);
  const whose = el.querySelector<HTMLElement>(".livedb-whose");
  expect(whose?.hidden).toBe(false);
  expect(whose?.textContent).toBe("n of row 1, out of sight");
});

test("a kernel that is gone refuses what was typed, and keeps it", async () => {
  const { model, el, input } = await opened();
  input.value = "7";
  press(input, "Enter");
  model.emit("comm_live_update");
  await settled();
  expect(el.querySelector(".livedb-problem")?.textContent).toContain("The kernel does not answer");
  expect(input.value).toBe("7");
});

test("Escape leaves the cell as it was", async () => {
  const { model, el, input } = await opened();
  press(input, "Escape");
  expect(model.last("edit")).toMatchObject({ step: "cancel" });
  expect(el.querySelector("textarea")).toBeNull();
});

test("system columns and results of queries are not edited", async () => {
  const { model, el } = await shown();
  press(el.querySelector("table"), "ArrowDown");
  press(el.querySelector("table"), "Enter"); // on _id
  expect(model.sent.some(({ kind }) => kind === "edit")).toBe(false);
  const other = await shown(false);
  for (const key of ["ArrowDown", "ArrowRight", "Enter", "Delete"]) press(other.el.querySelector("table"), key);
  press(other.el.querySelector("table"), "z", { ctrlKey: true });
  expect(other.model.sent.some(({ kind }) => kind === "edit")).toBe(false);
  expect(other.el.querySelector("table")?.getAttribute("aria-readonly")).toBe("true");
});

test("Ctrl+Z undoes and says what", async () => {
  const { model, el } = await shown();
  press(el.querySelector("table"), "z", { ctrlKey: true });
  expect(model.last("edit")).toMatchObject({ step: "undo" });
  await answer(model, { field: "n" });
  expect(el.querySelector(".livedb-said")?.textContent).toBe("Took back the change of n.");
});
