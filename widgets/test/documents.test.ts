// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { mount, stateOf } from "./fakes.js";

const settled = (ms = 200) => new Promise((resolve) => setTimeout(resolve, ms));

async function shown(editable = true) {
  const { model, el } = mount({ editable }, stateOf(0, 2), ["a", "b"], [1, 2]);
  await settled(60);
  const button = (text: string) => [...el.querySelectorAll<HTMLButtonElement>("button")].find((each) => each.textContent === text);
  const answer = async (outcome: Record<string, unknown>) => {
    const { id: asked } = model.last("edit");
    model.emit("msg:custom",
      { kind: "outcome", id: asked, state: "done", text: "", problem: null, field: null, number: 1, ...outcome }, []);
    await settled(40);
  };
  return { model, el, button, answer };
}

test("while the kernel is gone nothing is added, deleted or written to a file; what was typed stays", async () => {
  const { model, el, button } = await shown();
  button("add")?.click();
  const text = el.querySelector(".livedb-places textarea") as HTMLTextAreaElement;
  text.value = "7";
  button("export")?.click();
  model.emit("comm_live_update");
  await settled(60);
  for (const name of ["add", "delete", "export", "insert", "CSV"]) expect(button(name)?.disabled, name).toBe(true);
  expect(text.value).toBe("7");
  const asked = model.sent.length;
  press(text, "Enter");
  for (const key of ["a", "e"]) press(el.querySelector("table"), key);
  expect(model.sent.length).toBe(asked);
});

const press = (target: Element | null | undefined, key: string) =>
  target?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

test("a row is added from the texts of its fields, and the panel is there for the next one", async () => {
  const { model, el, button, answer } = await shown();
  button("add")?.click();
  const text = el.querySelector<HTMLTextAreaElement>(".livedb-places textarea");
  expect(text?.closest("label")?.textContent).toBe("n"); // livedb fills in `_id`
  (text as HTMLTextAreaElement).value = "7";
  press(text, "Enter");
  expect(model.last("edit")).toMatchObject({ step: "insert", texts: { n: "7" } });
  await answer({});
  expect(el.querySelector(".livedb-said")?.textContent).toBe("Added a row.");
  expect(el.querySelector<HTMLTextAreaElement>(".livedb-places textarea")?.value).toBe("");
});

test("what will not do is said while it is typed and when it is sent, and stays", async () => {
  const { model, el, button, answer } = await shown();
  button("add")?.click();
  const text = el.querySelector(".livedb-places textarea") as HTMLTextAreaElement;
  text.value = "x";
  text.dispatchEvent(new Event("input", { bubbles: true }));
  await settled();
  expect(model.last("edit")).toMatchObject({ step: "judge", field: "n", text: "x" });
  await answer({ state: "refused", problem: "'x' is not a number." });
  expect(el.querySelector(".livedb-panel-problem")?.textContent).toBe("n: 'x' is not a number.");
  expect(text.getAttribute("aria-invalid")).toBe("true");
  button("insert")?.click();
  await answer({ state: "refused", problem: "n: 'x' is not a number.", field: "n" });
  expect(text.value).toBe("x");
  expect(document.activeElement).toBe(text);
});

test("selected rows are deleted after a question", async () => {
  const { model, el, button, answer } = await shown();
  expect(button("delete")?.hidden).toBe(true);
  const table = el.querySelector("table");
  for (const key of ["ArrowDown", " ", "ArrowDown", " "]) press(table, key);
  await settled(40);
  press(table, "Delete");
  button("delete 2 rows")?.click();
  expect(model.last("edit")).toMatchObject({ step: "delete", keys: ["a", "b"] });
  await answer({ text: "2" });
  expect(el.querySelector(".livedb-said")?.textContent).toBe("Deleted 2 rows.");
  expect(button("delete")?.hidden).toBe(true);
});

test("a result of a query has neither", async () => {
  const { button } = await shown(false);
  expect([button("add")?.hidden, button("delete")?.hidden]).toEqual([true, true]);
});
