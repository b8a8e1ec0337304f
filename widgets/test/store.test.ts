import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { realmId } from "../src/model/realm.js";
import { type Change, createStore } from "../src/model/store.js";
import { arrow, FakeModel, stateOf } from "./fakes.js";

let end: AbortController;

beforeEach(() => {
  vi.useFakeTimers();
  end = new AbortController();
});

afterEach(() => {
  end.abort();
  vi.useRealTimers();
});

function opened(address = "t1", first_page: object = {}) {
  const model = new FakeModel({ address, first_page });
  const store = createStore(model, end.signal);
  const changes: Change[] = [];
  const view = store.openView((change) => changes.push(change), end.signal);
  store.ask(view, { start: 0, stop: 3 });
  return { model, store, view, changes };
}

type Opened = ReturnType<typeof opened>;

function reply({ model }: Opened, sequence: number, keys: string[], values: number[]): void {
  const { id } = model.last("rows");
  model.emit("msg:custom",
    { kind: "reply", id, ...stateOf(sequence, keys.length), start: 0, rows: keys.length, keys },
    [arrow(keys, values)]);
}

/** An update that changes row "b" of three, over the answer to the first request or the update before. */
function entry({ view }: Opened, address: string, sequence: number, buffers = 0): Record<string, unknown> {
  const base = sequence === 1 ? -1 : sequence - 1;
  const patch = { view: view.id, start: 0, base, runs: [[0, 1], [-1, 1], [2, 1]], keys: ["b"], buffer: 0 };
  return { address, buffers, ...stateOf(sequence, 3), views: [patch] };
}

function batch(model: FakeModel, entries: unknown[], buffers: DataView[], number = 1): void {
  model.emit("msg:custom", { kind: "batch", batch: number, entries }, buffers);
}

const numbers = ({ view }: Opened) => view.window?.rows.map(({ cells }) => cells[1]?.text);

test("a window, then a patch, acknowledged", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  batch(one.model, [entry(one, "t1", 1)], [arrow(["b"], [20])], 7);
  expect(numbers(one)).toEqual(["1", "20", "3"]);
  expect(one.model.last("acknowledge")).toEqual({ kind: "acknowledge", realm: realmId(), batch: 7 });
  expect(one.changes.at(-1)?.what).toBe("patch");
  expect(one.store.status()).toBe("live");
});

test("a missed update is noticed by the next, and the window asked for again", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  const asked = one.model.sent.length;
  batch(one.model, [entry(one, "t1", 2)], [arrow(["b"], [20])]);
  expect(numbers(one)).toEqual(["1", "2", "3"]);
  expect(one.model.sent.slice(asked).map(({ kind }) => kind)).toEqual(["rows", "acknowledge"]);
  reply(one, 2, ["a", "b", "c"], [1, 21, 31]);
  expect(numbers(one)).toEqual(["1", "21", "31"]);
});

test("an update says only what has changed; one whose head was missed makes the view ask again", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  const { columns: _, title: __, shape: ___, ...news } = entry(one, "t1", 1);
  batch(one.model, [news], [arrow(["b"], [20])]);
  expect(numbers(one)).toEqual(["1", "20", "3"]);
  expect(one.store.state()).toMatchObject({ title: "t()", number: 2 });
  const asked = one.model.sent.length;
  batch(one.model, [{ ...news, sequence: 2, head: 2 }], [arrow(["b"], [30])]);
  expect(numbers(one)).toEqual(["1", "20", "3"]);
  expect(one.model.sent[asked]?.kind).toBe("rows");
});

/** An update over the answer to the first request that found the rows as they were. */
function nothing(one: Opened): Record<string, unknown> {
  const { views, ...news } = entry(one, "t1", 1);
  return { ...news, views: [{ ...(views as object[])[0], base: -1, runs: [[0, 3]], keys: [], buffer: null }] };
}

test("a request that was sent twice takes any answer, and is over the last one", () => {
  const one = opened();
  vi.advanceTimersByTime(4_000); // the kernel is busy with a cell: it is asked again, and a subshell answers
  expect(one.model.last("rows").id).toBe(2);
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  expect(numbers(one)).toEqual(["1", "2", "3"]);
  // The cell has ended: the first request is answered from newer rows, at the same update.
  const answer = { kind: "reply", id: 1, ...stateOf(0, 3), start: 0, rows: 3, keys: ["a", "b", "c"] };
  one.model.emit("msg:custom", answer, [arrow(["a", "b", "c"], [1, 20, 3])]);
  expect(numbers(one)).toEqual(["1", "20", "3"]);
  const asked = one.model.sent.length;
  batch(one.model, [nothing(one)], []);
  expect(numbers(one)).toEqual(["1", "20", "3"]);
  expect(one.model.sent.slice(asked).map(({ kind }) => kind)).toEqual(["acknowledge"]);
});

test("an answer that takes longer than the time to ask again is taken, and no more is asked", () => {
  const one = opened();
  vi.advanceTimersByTime(10_000);
  expect(one.model.last("rows").id).toBe(3);
  const answer = { kind: "reply", id: 1, ...stateOf(0, 3), start: 0, rows: 3, keys: ["a", "b", "c"] };
  one.model.emit("msg:custom", answer, [arrow(["a", "b", "c"], [1, 2, 3])]);
  expect(numbers(one)).toEqual(["1", "2", "3"]);
  expect(one.store.status()).toBe("live");
  vi.advanceTimersByTime(60_000);
  expect(one.model.last("rows").id).toBe(3);
});

test("an update over an answer that was lost makes the view ask again", () => {
  const one = opened();
  vi.advanceTimersByTime(4_000);
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  const asked = one.model.sent.length;
  batch(one.model, [nothing(one)], []);
  expect(one.model.sent[asked]?.kind).toBe("rows");
  reply(one, 1, ["a", "b", "c"], [1, 20, 3]);
  expect(numbers(one)).toEqual(["1", "20", "3"]);
});

test("a missed last update is noticed by a sign of life", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  const asked = one.model.sent.length;
  batch(one.model, [{ address: "t1", sequence: 1, beat: true, buffers: 0 }], []);
  expect(one.model.sent[asked]?.kind).toBe("rows");
});

test("repeated and late updates change nothing", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  for (const _ of [1, 2]) batch(one.model, [entry(one, "t1", 1)], [arrow(["b"], [20])]);
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]); // its request is no longer under way
  expect(numbers(one)).toEqual(["1", "20", "3"]);
});

test("an update that overtakes the reply it builds on makes the view ask again", () => {
  const one = opened();
  batch(one.model, [entry(one, "t1", 1)], [arrow(["b"], [20])]);
  const first = one.model.last("rows").id;
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  expect(one.model.last("rows").id).toBeGreaterThan(first);
  reply(one, 1, ["a", "b", "c"], [1, 20, 3]);
  expect(numbers(one)).toEqual(["1", "20", "3"]);
});

test("a batch on one table's comm reaches the others, each with its own buffers", () => {
  const [one, two] = [opened("t1"), opened("t2")];
  for (const each of [one, two]) reply(each, 0, ["a", "b", "c"], [1, 2, 3]);
  batch(one.model, [entry(one, "t1", 1, 0), entry(two, "t2", 1, 1)], [arrow(["b"], [10]), arrow(["b"], [20])]);
  expect(numbers(one)).toEqual(["1", "10", "3"]);
  expect(numbers(two)).toEqual(["1", "20", "3"]);
});

test("silence makes a table stale and a sign of life revives it", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  vi.advanceTimersByTime(17_000);
  expect(one.store.status()).toBe("stale");
  batch(one.model, [{ address: "t1", sequence: 0, beat: true, buffers: 0 }], []);
  expect(one.store.status()).toBe("live");
});

test("a request that was lost is sent again, however long the kernel is silent", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  one.store.ask(one.view, { start: 1, stop: 3 });
  const { id } = one.model.last("rows");
  vi.advanceTimersByTime(17_000);
  expect(one.store.status()).toBe("stale");
  const retried = one.model.last("rows").id;
  expect(retried).toBeGreaterThan(id);
  vi.advanceTimersByTime(40_000);
  expect(one.model.last("rows").id).toBeGreaterThan(retried);
  reply(one, 0, ["b", "c"], [2, 3]);
  expect(one.store.status()).toBe("live");
});

test("a restart that the host tells of makes a table stale at once, rows kept", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  one.model.emit("comm_live_update");
  expect(one.store.status()).toBe("stale");
  expect(numbers(one)).toEqual(["1", "2", "3"]);
  one.store.ask(one.view, { start: 1, stop: 3 });
  const { id } = one.model.last("rows");
  vi.advanceTimersByTime(60_000);
  expect(one.model.last("rows").id).toBe(id); // there is nobody to ask
});

test("an unanswered request shows as waiting and is sent again", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  one.store.ask(one.view, { start: 1, stop: 3 });
  const { id } = one.model.last("rows");
  vi.advanceTimersByTime(1_300);
  expect(one.store.status()).toBe("waiting");
  vi.advanceTimersByTime(2_500);
  expect(one.model.last("rows")).toMatchObject({ start: 1, stop: 3 });
  expect(one.model.last("rows").id).toBeGreaterThan(id);
  reply(one, 0, ["b", "c"], [2, 3]);
  expect(one.store.status()).toBe("live");
});

test("a failed request shows its message beside the rows, and is sent again", () => {
  const one = opened();
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  one.store.ask(one.view, { start: 0, stop: 3 });
  one.model.emit("msg:custom", { kind: "reply", id: one.model.last("rows").id, failed: "no luck" }, []);
  expect(one.store.state()?.error).toBe("no luck");
  expect(numbers(one)).toEqual(["1", "2", "3"]);
  const failed = one.model.last("rows").id;
  vi.advanceTimersByTime(4_000);
  expect(one.model.last("rows").id).toBeGreaterThan(failed);
  reply(one, 0, ["a", "b", "c"], [1, 2, 3]);
  expect(one.store.state()?.error).toBeNull();
});

test("an update that overtakes the first answer is not taken for one over the stored page", () => {
  const first_page = { ...stateOf(0, 3), start: 0, rows: 3, keys: ["a", "b", "c"], arrow: arrow(["a", "b", "c"], [0, 0, 0]) };
  const one = opened("t11", first_page);
  batch(one.model, [entry(one, "t11", 1)], [arrow(["b"], [20])]);
  expect(numbers(one)).toEqual(["0", "0", "0"]);
  reply(one, 1, ["a", "b", "c"], [1, 20, 3]);
  expect(numbers(one)).toEqual(["1", "20", "3"]);
});

test("a table that fails keeps no other of its batch from its update", () => {
  const failed = vi.spyOn(console, "error").mockImplementation(() => {});
  const [one, two] = [opened("t1"), opened("t2")];
  for (const each of [one, two]) reply(each, 0, ["a", "b", "c"], [1, 2, 3]);
  const fail = vi.fn((): void => {
    throw new Error("it cannot be drawn");
  });
  one.view.changed = fail;
  batch(one.model, [entry(one, "t1", 1, 0), entry(two, "t2", 1, 1)], [arrow(["b"], [10]), arrow(["b"], [20])]);
  expect(numbers(two)).toEqual(["1", "20", "3"]);
  expect(one.model.last("acknowledge").batch).toBe(1);
  expect(failed).toHaveBeenCalledOnce();
  fail.mockImplementation(() => {});
});

test("without a kernel the stored page is there", () => {
  const first_page = { ...stateOf(0, 80), start: 0, rows: 2, keys: ["a", "b"], arrow: arrow(["a", "b"], [1, 2]) };
  const store = createStore(new FakeModel({ address: "t9", first_page }), end.signal);
  const view = store.openView(() => undefined, end.signal);
  expect(view.window?.rows.map(({ key }) => key)).toEqual(["a", "b"]);
  expect(store.state()?.rowCount).toBe(80);
  vi.advanceTimersByTime(60_000);
  expect(store.status()).toBe("saved");
});

test("a view that is opened after the columns changed does not begin with the stored rows", () => {
  const columns = [["_id", "id"], ["old", "text"]];
  const first_page = { ...stateOf(0, 2), columns, start: 0, rows: 2, keys: ["a", "b"], arrow: arrow(["a", "b"], [1, 2]) };
  const model = new FakeModel({ address: "t10", first_page });
  const store = createStore(model, end.signal);
  expect(store.openView(() => undefined, end.signal).window?.rows).toHaveLength(2);
  batch(model, [{ address: "t10", buffers: 0, ...stateOf(1, 2), views: [] }], []);
  expect(store.openView(() => undefined, end.signal).window).toBeNull();
});

test("nothing is left behind", () => {
  const one = opened("gone");
  end.abort();
  expect([...one.model.listeners.values()].every((each) => each.size === 0)).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
  expect(one.model.last("close").view).toBe(one.view.id);
});
