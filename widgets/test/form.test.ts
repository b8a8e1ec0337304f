// @vitest-environment happy-dom
import { expect, test, vi } from "vitest";
import widget from "../src/entry/form.js";
import type { Field } from "../src/model/form.js";
import { Kernel } from "./kernel.js";
import { scene } from "./scene.js";

const field = (name: string, kind: string, more: Partial<Field> = {}): Field => ({
  name, kind, step: `.${name}`, type: kind, nullable: false, optional: false, default: false, ...more,
});
const FIELDS = [field("title", "text"), field("count", "integer"), field("tags", "list", { element: field("", "text") }), field("user", "id", { table: "users" })];

const signal = scene();

function drawn(drafts: Record<string, unknown> = {}): { kernel: Kernel; el: HTMLElement } {
  const kernel = new Kernel({ address: "a1", description: { name: "add", summary: "", version: 1, fields: FIELDS, drafts } });
  const made = widget();
  const el = document.body.appendChild(document.createElement("div"));
  made.initialize({ model: kernel, signal: signal() } as never);
  made.render({ model: kernel, el, signal: signal() } as never);
  return { kernel, el };
}

const inputOf = (el: HTMLElement, name: string): HTMLInputElement => {
  const label = [...el.querySelectorAll("label")].find((each) => each.textContent?.startsWith(name));
  return el.querySelector(`#${label?.htmlFor}`) as HTMLInputElement;
};
const type = (input: HTMLInputElement, text: string): void => {
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
};
const submit = (el: HTMLElement): void => void el.querySelector("form")?.dispatchEvent(new Event("submit", { cancelable: true }));
const go = (el: HTMLElement): HTMLButtonElement => el.querySelector(".livedb-go") as HTMLButtonElement;

test("what is typed is asked about once the typing pauses, and an older answer is not shown", async () => {
  const { kernel, el } = drawn();
  type(inputOf(el, "count"), "1");
  type(inputOf(el, "count"), "1x");
  expect(kernel.sent).toEqual([]);
  await vi.advanceTimersByTimeAsync(200);
  expect(kernel.last("check").drafts).toEqual({ title: "", count: "1x", tags: [], user: "" });
  type(inputOf(el, "count"), "12");
  await kernel.answer("check", { kind: "checked", errors: { ".count": "no number" } });
  expect(inputOf(el, "count").getAttribute("aria-invalid")).not.toBe("true");
});

test("an error stands at its field, and only where somebody was", async () => {
  const { kernel, el } = drawn();
  type(inputOf(el, "count"), "x");
  await vi.advanceTimersByTimeAsync(200);
  await kernel.answer("check", { kind: "checked", errors: { ".count": "<b>no</b>", ".user": "Choose one." } });
  const count = inputOf(el, "count");
  expect(el.querySelector(`#${count.getAttribute("aria-describedby")}`)?.textContent).toBe("<b>no</b>");
  expect(inputOf(el, "user").getAttribute("aria-invalid")).not.toBe("true");
});

test("the live table of what a call gave stands under the form, which keeps what was typed", async () => {
  const { kernel, el } = drawn();
  type(inputOf(el, "title"), "x");
  for (const address of ["t1", "t2"]) {
    submit(el);
    await kernel.answer("submit", { kind: "done", text: "above(<b>)", address });
    const places = el.querySelectorAll(".livedb-result > div");
    expect([...places].map((each) => each.className)).toEqual([`livedb-at-${address}`]);
    expect(places[0]?.textContent).toBe("above(<b>)"); // until the table is there
    expect(places[0]?.closest("form")).toBeNull();
  }
  expect(inputOf(el, "title").value).toBe("x");
});

test("a submission is sent once, and what was typed stays until it succeeds", async () => {
  const { kernel, el } = drawn({ count: "1" });
  type(inputOf(el, "title"), "x");
  submit(el);
  submit(el);
  expect(kernel.sent.filter(({ kind }) => kind === "submit")).toHaveLength(1);
  expect(go(el).disabled).toBe(true);
  await kernel.answer("submit", { kind: "begun" });
  expect(go(el).disabled).toBe(true);
  await kernel.answer("submit", { kind: "refused", code: "Full", path: "", message: "no room" });
  expect(el.querySelector(".livedb-status")?.textContent).toBe("Full: no room");
  expect([inputOf(el, "title").value, go(el).disabled]).toEqual(["x", false]);
  submit(el);
  await kernel.answer("submit", { kind: "done", text: "42" });
  expect([inputOf(el, "title").value, inputOf(el, "count").value]).toEqual(["", "1"]);
  expect(el.querySelector(".livedb-status")?.textContent).toBe("done: 42");
});

test("items of a list are added and removed, and their errors follow them", async () => {
  const { kernel, el } = drawn({ tags: ["a", "b", "c"] });
  (el.querySelector(".livedb-item button") as HTMLButtonElement).click();
  await vi.advanceTimersByTimeAsync(200);
  expect(kernel.last("check").drafts).toMatchObject({ tags: ["b", "c"] });
  submit(el);
  await kernel.answer("submit", { kind: "checked", errors: { ".tags[1]": "too long" } });
  expect([...el.querySelectorAll(".livedb-item input")].map((each) => each.getAttribute("aria-invalid"))).toEqual(["false", "true"]);
});

test("Enter chooses nothing of a search before the last key", async () => {
  const { kernel, el } = drawn();
  const input = inputOf(el, "user");
  const press = (key: string): void => void input.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  input.focus();
  await kernel.answer("pick", { kind: "picked", found: [["id1", "Ann"]], more: false });
  type(input, "bob");
  press("Enter");
  expect((el.querySelector(".livedb-chip") as HTMLElement).hidden).toBe(true);
  await vi.advanceTimersByTimeAsync(200);
  expect(kernel.last("pick").text).toBe("bob");
  await kernel.answer("pick", { kind: "picked", found: [["id2", "Bob"]], more: false });
  press("Enter");
  submit(el);
  expect(kernel.last("submit").drafts).toMatchObject({ user: "id2" });
});

test("a kernel that does not answer is waited for, and one that is gone ends it", async () => {
  const { kernel, el } = drawn();
  submit(el);
  await vi.advanceTimersByTimeAsync(5_000);
  const advice = el.querySelector(".livedb-advice") as HTMLElement;
  expect(advice.textContent).toContain("Waiting");
  kernel.emit("comm_live_update");
  expect(advice.textContent).toContain("still here");
  expect(go(el).disabled).toBe(true);
});
