// @vitest-environment happy-dom
import { tableFromArrays, tableToIPC } from "@uwdata/flechette";
import { expect, test, vi } from "vitest";
import { cellOf } from "../src/model/cells.js";
import type { Look } from "../src/model/formats.js";
import { figureOf, readLookFormat } from "../src/model/looks.js";
import type { Fields, Kind } from "../src/model/messages.js";
import { parts } from "../src/model/realm.js";
import { makeDress, pathOf } from "../src/view/looks.js";
import { arrow, mount, mountFormatted, stateOf } from "./fakes.js";
import cases from "./looks.json";

const asked: string[] = [];
vi.stubGlobal("IntersectionObserver", undefined); // all is in sight; pictures.test.ts has a real one's manners
const noPicture = Promise.reject(new Error("no picture"));
noPicture.catch(() => {});
const dress = makeDress((name) => (asked.push(name), noPicture), new AbortController().signal);

function decoded(kind: string, value: unknown): unknown {
  if ((kind === "datetime" || kind === "integer") && typeof value === "number") return BigInt(value);
  if (kind === "float" && typeof value === "string") return { nan: NaN, inf: Infinity, "-inf": -Infinity }[value];
  return value;
}

const cellFor = (kind: string, value: unknown) => cellOf(decoded(kind, value), kind as Kind);

/** As the kernel cuts what it sends. */
const sent = (value: unknown): unknown =>
  typeof value === "string" && value.length > 1_000 ? `${value.slice(0, 999)}…` : value;

test.each(cases)("$kind $value as $look", ({ kind, value, look, drawn }) => {
  const format = readLookFormat(look as Fields);
  if (format === null) throw new Error("an unknown look");
  const figure = figureOf(cellFor(kind, sent(value)), kind as Kind, format, undefined);
  if (drawn === null) expect(figure).toBeNull();
  else expect(figure).toMatchObject(drawn);
});

const lookFor = (look: Fields, kind: string, value: unknown, figures?: unknown): Look | null =>
  dress(cellFor(kind, value), kind as Kind, look, figures);

function drawn(look: Look | null): HTMLElement {
  const cell = document.createElement("td");
  look?.draw?.(cell, "the column");
  return cell;
}

test("an unknown look is none, so that an older page shows the value", () => {
  expect(lookFor({ type: "hologram" }, "float", 1)).toBeNull();
});

test("a link opens a page of its own that knows nothing of this one", () => {
  const look = lookFor({ type: "link", text: "open" }, "text", "https://example.org/?a=\"><b>");
  const link = drawn(look).querySelector("a");
  expect(link?.getAttribute("href")).toBe("https://example.org/?a=\"><b>");
  expect([link?.target, link?.rel, link?.tabIndex, link?.textContent]).toEqual(["_blank", "noopener noreferrer", -1, "open"]);
  expect(look?.title).toBe("https://example.org/?a=\"><b>");
});

test("only pictures are drawn as pictures", () => {
  const image = { type: "image" };
  for (const src of ["https://example.org/a.png", "data:image/png;base64,AAAA"]) {
    const element = drawn(lookFor(image, "text", "x", src)).querySelector("img");
    expect([element?.getAttribute("src"), element?.alt, element?.loading, element?.getAttribute("referrerpolicy")])
      .toEqual([src, "the column", "lazy", "no-referrer"]);
  }
  for (const src of [
    "javascript:alert(1)", "data:image/svg+xml;base64,AAAA", "data:text/html;base64,AAAA", "//a/b.png", "https://a b", "", null, undefined, 7, {},
  ]) {
    expect(lookFor(image, "text", "x", src)).toBeNull();
  }
});

const ID = "jh76pkekkb9q4rpmk3ncyfszhn9jv0c7";

test("a picture among the files of the workspace is asked for by the name that its value is", async () => {
  const image = { type: "image" };
  const look = lookFor(image, "id", ID, ID);
  const cell = document.body.appendChild(drawn(look));
  expect([cell.querySelector("img")?.alt, cell.querySelector("img")?.hasAttribute("src"), look?.title]).toEqual(["the column", false, ID]);
  await vi.waitFor(() => expect(cell.textContent).toBe("jh7…9jv0c7")); // it was none: the id, as any other
  expect(asked).toEqual([ID]);
  const place = "file:///srv/files/0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11";
  expect(lookFor(image, "text", place, place)?.key).toBe(`stored ${place}`);
  for (const other of ["file:///etc/passwd", "file:///srv/a.png", "u".repeat(31), ID.slice(0, 30)]) {
    expect(lookFor(image, "text", other, other)).toBeNull();
  }
});

test("a picture of a service that the browser does not reach is asked for", async () => {
  const url = "http://127.0.0.1:1/api/storage/0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11";
  const cell = document.body.appendChild(drawn(lookFor({ type: "image" }, "text", url, url)));
  asked.length = 0;
  cell.querySelector("img")?.dispatchEvent(new Event("error"));
  await vi.waitFor(() => expect(cell.textContent).toBe(url));
  expect(asked).toEqual([url]);
});

test("a share is a bar that says its number", () => {
  const bar = drawn(lookFor({ type: "progress", low: 0, high: 1, format: ".0%" }, "float", 0.456));
  const track = bar.querySelector("[role=progressbar]");
  expect(bar.textContent).toBe("46%");
  expect(["label", "valuenow", "valuemin", "valuemax", "valuetext"].map((name) => track?.getAttribute(`aria-${name}`)))
    .toEqual(["the column", "45.6", "0", "100", "46%"]);
});

test("labels are texts, whatever they say", () => {
  const cell = drawn(lookFor({ type: "badge", colors: { "<img src=x>": "red" } }, "text", "[\"<img src=x>\", \"b\"]"));
  expect([...cell.children].map((each) => [each.textContent, (each as HTMLElement).dataset["color"]]))
    .toEqual([["<img src=x>", "red"], ["b", "gray"]]);
});

test("a line has gaps, and says where it begins, ends and goes", () => {
  const look = lookFor({ type: "sparkline" }, "json", "[..]", [1, 3, null, NaN, 2]);
  expect(look?.text).toBe("first 1, last 2, least 1, greatest 3");
  const svg = drawn(look).querySelector("svg");
  expect(svg?.getAttribute("aria-label")).toBe(look?.text);
  expect(svg?.querySelector("path")?.getAttribute("d")).toBe("M0 18.0L0 18.0L1 2.0M4 10.0L4 10.0");
  expect(lookFor({ type: "sparkline" }, "json", "[..]", [null, NaN])).toBeNull();
  expect(lookFor({ type: "sparkline" }, "text", "many", null)).toBeNull();
});

test("one number and numbers that are all the same are a line in the middle", () => {
  const heights = (...points: number[]) => drawn(lookFor({ type: "sparkline" }, "json", "[..]", points)).querySelector("path")?.getAttribute("d");
  expect(heights(7)).toBe("M0 10.0L0 10.0L1 10.0");
  expect(heights(7, 7)).toBe("M0 10.0L0 10.0L1 10.0");
  expect(pathOf([])).toBe("");
});

test("a line with edges of its own stays between them", () => {
  const look = lookFor({ type: "sparkline", low: 0, high: 10 }, "json", "[..]", Float64Array.of(-5, 5, 50));
  expect(drawn(look).querySelector("path")?.getAttribute("d")).toBe("M0 18.0L0 18.0L1 10.0L2 2.0");
});

// In a table.

const FORMATTED = [["_id", "id"], ["n", "float", {
  label: "Delay", help: "in minutes", look: { type: "number", format: "+.1f", unit: "min" },
}]];
const LOOKS = "looks of a test";
parts().set(LOOKS, Promise.resolve(await import("../src/entry/looks.js")));
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
const stateWith = (columns: unknown, sequence = 0) => ({ ...stateOf(sequence, 1), columns });
const texts = (el: HTMLElement) => [...el.querySelectorAll("tbody td")].map((cell) => cell.textContent);

test("a table shows its formats, and copies and edits what the values are", async () => {
  const { el } = await mountFormatted({ looks: LOOKS }, stateWith(FORMATTED), ["a"], arrow(["a"], [1.25]));
  await frame();
  expect(texts(el)).toEqual(["a", "+1.2 min"]);
  expect(el.querySelectorAll("th")[1]?.textContent).toBe("Delay");
  expect(el.querySelectorAll("th")[1]?.title).toContain("in minutes\nn (float)");
  expect(el.querySelectorAll("tbody td")[1]?.getAttribute("title")).toBe("1.25");
  const table = el.querySelector("table") as HTMLElement;
  for (const key of ["ArrowDown", "ArrowRight"]) table.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  let copied = "";
  const copy = new Event("copy", { bubbles: true });
  Object.assign(copy, { clipboardData: { setData: (_: string, text: string) => (copied = text) } });
  table.dispatchEvent(copy);
  expect(copied).toBe("1.25");
});

test("stored rows are formatted too, and before the kernel has said a word", async () => {
  const page = { ...stateWith(FORMATTED), start: 0, rows: 1, keys: ["a"], arrow: arrow(["a"], [1.25]) };
  const { el } = await mountFormatted({ looks: LOOKS, first_page: page }, stateWith(FORMATTED), [], null);
  await frame();
  expect(texts(el)).toEqual(["a", "+1.2 min"]);
});

test("rows that came before the looks come once more", async () => {
  const { model, el } = mount({}, stateWith(FORMATTED), ["a"], [1.25]);
  await frame();
  expect(texts(el)[1]).toBe("1.25");
  model.traits["looks"] = LOOKS;
  const before = model.sent.length;
  model.emit("change:looks");
  await frame();
  expect(model.sent.slice(before).map(({ kind }) => kind)).toEqual(["rows"]);
});

test("formats that change place their columns anew, and others leave them to the reader", async () => {
  const hidden = [["_id", "id", { hidden: true }], ["n", "float", { width: 120, pinned: true }]];
  const { model, el } = mount({}, stateWith(hidden), ["a"], [1]);
  await frame();
  const heads = () => [...el.querySelectorAll("th")].map((cell) => cell.textContent);
  expect(heads()).toEqual(["n"]);
  expect(el.querySelector("th")?.className).toContain("livedb-pinned");
  const { view } = model.last("rows");
  const update = (columns: unknown, sequence: number) => {
    const patch = { view, start: 0, base: sequence - 1, rows: 1, keys: ["a"], buffer: 0 };
    const entry = { address: "dom", buffers: 0, ...stateWith(columns, sequence), views: [patch] };
    model.emit("msg:custom", { kind: "batch", batch: sequence, entries: [entry] }, [arrow(["a"], [2])]);
    return frame();
  };
  await update([["_id", "id", { hidden: true }], ["n", "float", { width: 120, pinned: true, label: "N" }]], 1);
  expect(heads()).toEqual(["N"]);
  await update([["_id", "id"], ["n", "float"]], 2);
  expect(heads()).toEqual(["_id", "n"]);
});

test("a picture gives its cell back to the next value", async () => {
  const columns = [["_id", "id"], ["n", "text", { look: { type: "image" } }]];
  const { model, el } = await mountFormatted({ looks: LOOKS }, stateWith(columns), ["a"], arrow(["a"], [1]));
  await frame();
  const { view } = model.last("rows");
  const update = async (value: string, src: string | null, sequence: number) => {
    const bytes = tableToIPC(tableFromArrays({ "0": ["a"], "1": [value], figures1: [src] }), {}) as Uint8Array;
    const patch = { view, start: 0, base: sequence - 1, rows: 1, keys: ["a"], buffer: 0 };
    const entry = { address: "dom", buffers: 0, ...stateWith(columns, sequence), views: [patch] };
    model.emit("msg:custom", { kind: "batch", batch: sequence, entries: [entry] }, [new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)]);
    await frame();
  };
  await update("https://a/b.png", "https://a/b.png", 1);
  expect(el.querySelector("tbody img")?.getAttribute("src")).toBe("https://a/b.png");
  await update("javascript:alert(1)", null, 2);
  expect(el.querySelector("tbody img")).toBeNull();
  expect(texts(el)[1]).toBe("javascript:alert(1)");
});
