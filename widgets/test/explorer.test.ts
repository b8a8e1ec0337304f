// @vitest-environment happy-dom
import { expect, test, vi } from "vitest";
import widget from "../src/entry/explorer.js";
import type { Line, Opens, State } from "../src/model/explorer.js";
import { Kernel } from "./kernel.js";
import { scene } from "./scene.js";

const signal = scene();

const line = (cells: string[], opens: Opens | null = null): Line => ({ cells, opens });

function stateOf(number: number, ...tables: Line[]): State {
  const section = { heads: ["table", "documents"], numeric: [1], lines: tables, more: 0 };
  return { title: "livedb shop", status: "open", number, sections: [section] };
}

const TASKS = (count: string): Line => line(["tasks", count], ["table", "tasks"]);

function drawn(): { kernel: Kernel; el: HTMLElement; tell: (state: State) => Promise<void> } {
  const kernel = new Kernel({ address: "e1" });
  const made = widget();
  const el = document.body.appendChild(document.createElement("div"));
  made.initialize({ model: kernel, signal: signal() } as never);
  made.render({ model: kernel, el, signal: signal() } as never);
  const tell = (state: State): Promise<void> => kernel.answer("look", { kind: "state", state });
  return { kernel, el, tell };
}

const lines = (el: HTMLElement): string[] =>
  [...el.querySelectorAll("tbody > tr")].map((row) => [...row.children].map((cell) => cell.textContent).join("|"));

test("it looks once a second, and never twice at once", async () => {
  const { kernel, el, tell } = drawn();
  await vi.advanceTimersByTimeAsync(3_000);
  expect(kernel.sent.length).toBe(1);
  await tell(stateOf(1, TASKS("1")));
  expect(lines(el)).toEqual(["tasks|1"]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(kernel.sent.length).toBe(2);
});

test("a line stays the same element while its texts change and others come and go", async () => {
  const { el, tell } = drawn();
  await tell(stateOf(1, line(["notes", "1"], ["table", "notes"]), TASKS("1")));
  const row = el.querySelectorAll("tbody > tr")[1];
  await vi.advanceTimersByTimeAsync(1_000);
  await tell(stateOf(2, line(["<b>new</b>", "4"], ["table", "new"]), TASKS("2")));
  expect(lines(el)).toEqual(["<b>new</b>|4", "tasks|2"]);
  expect(el.querySelectorAll("tbody > tr")[1]).toBe(row);
});

test("what is opened stands below its line, outlasts a look, and is closed in the kernel", async () => {
  const { kernel, el, tell } = drawn();
  await tell(stateOf(1, TASKS("1")));
  const button = el.querySelector("tbody button") as HTMLButtonElement;
  button.click();
  expect(button.getAttribute("aria-expanded")).toBe("true");
  await kernel.answer("open", { kind: "opened", address: "t9" });
  const place = el.querySelector(".livedb-at-t9");
  expect(place?.closest("tr")?.previousElementSibling).toBe(button.closest("tr"));
  await vi.advanceTimersByTimeAsync(1_000);
  await tell(stateOf(2, line(["a", "1"], ["table", "a"]), TASKS("2")));
  expect(el.querySelector(".livedb-at-t9")).toBe(place);
  button.click();
  expect(el.querySelector(".livedb-at-t9")).toBeNull();
  expect(kernel.last("close")).toMatchObject({ address: "t9" });
});

test("what comes after its line was closed again is closed in the kernel at once", async () => {
  const { kernel, el, tell } = drawn();
  await tell(stateOf(1, TASKS("1")));
  const button = el.querySelector("tbody button") as HTMLButtonElement;
  button.click();
  button.click();
  await kernel.answer("open", { kind: "opened", address: "t9" });
  expect(el.querySelector(".livedb-at-t9")).toBeNull();
  expect(kernel.last("close")).toMatchObject({ address: "t9" });
});

test("a line that goes closes what it had open", async () => {
  const { kernel, el, tell } = drawn();
  await tell(stateOf(1, TASKS("1")));
  (el.querySelector("tbody button") as HTMLButtonElement).click();
  await kernel.answer("open", { kind: "opened", address: "t9" });
  await vi.advanceTimersByTimeAsync(1_000);
  await tell(stateOf(2));
  expect(lines(el)).toEqual([]);
  expect(kernel.last("close")).toMatchObject({ address: "t9" });
});

test("a commit shows values before and after as text", async () => {
  const { kernel, el, tell } = drawn();
  await tell(stateOf(1, line(["1", "add"], ["commit", "1"])));
  (el.querySelector("tbody button") as HTMLButtonElement).click();
  const fields = [["n", "1", "2"], ["new", null, "'<img>'"]];
  const documents = [{ table: "tasks", id: "j5", what: "changed", fields, others: 3 }];
  await kernel.answer("open", { kind: "changes", changes: { documents, others: 7 } });
  const changes = el.querySelector(".livedb-changes");
  expect(changes?.textContent).toContain("changedtasks j5");
  expect([...(changes?.querySelectorAll("del") ?? [])].map((each) => each.textContent)).toEqual(["1"]);
  expect([...(changes?.querySelectorAll("ins") ?? [])].map((each) => each.textContent)).toEqual(["2", "'<img>'"]);
  expect(changes?.textContent).toContain("and 3 more fields");
  expect(changes?.textContent).toContain("and 7 more documents");
});

test("what cannot be opened, and a look that fails, say why", async () => {
  const { kernel, el, tell } = drawn();
  await tell(stateOf(1, TASKS("1")));
  (el.querySelector("tbody button") as HTMLButtonElement).click();
  await kernel.answer("open", { kind: "failed", message: "there is no table tasks" });
  expect(el.querySelector(".livedb-detail")?.textContent).toBe("there is no table tasks");
  await vi.advanceTimersByTimeAsync(1_000);
  await kernel.answer("look", { kind: "failed", message: "the workspace is closed" });
  expect(el.querySelector(".livedb-advice")?.textContent).toBe("the workspace is closed");
});

test("a kernel that is gone is told once and asked no more", async () => {
  const { kernel, el, tell } = drawn();
  await tell(stateOf(1, TASKS("1")));
  kernel.emit("comm_live_update");
  expect(el.querySelector(".livedb-advice")?.textContent).toContain("Run the cell again");
  expect(el.querySelector(".livedb-aside")?.textContent).toBe("commit 1 · stale");
  expect(el.querySelector<HTMLButtonElement>("tbody button")?.disabled).toBe(true);
  const asked = kernel.sent.length;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(kernel.sent.length).toBeLessThanOrEqual(asked);
});
