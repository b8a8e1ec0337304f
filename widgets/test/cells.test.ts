import { expect, test } from "vitest";
import { cellOf } from "../src/model/cells.js";
import type { Kind } from "../src/model/messages.js";
import cases from "./cells.json";

/** What Arrow decodes to: whole numbers and instants are bigint. */
function decoded(kind: string, value: unknown): unknown {
  if (kind === "datetime" && typeof value === "number") return BigInt(value);
  if (kind === "float" && typeof value === "string") return { nan: NaN, inf: Infinity, "-inf": -Infinity }[value];
  return value;
}

// A whole number beyond 2^53 cannot be written in JSON for JavaScript; it is tested below.
const representable = cases.filter(({ value }) => typeof value !== "number" || Math.abs(value) <= 2 ** 53 || value > 1e15);

test.each(representable.filter(({ text }) => text !== "9007199254740993"))("$kind $text", (each) => {
  const { text, title, dim } = each;
  expect(cellOf(decoded(each.kind, each.value), each.kind as Kind)).toEqual({ text, title, dim });
});

test("whole numbers keep every digit", () => {
  expect(cellOf(9007199254740993n, "integer").text).toBe("9007199254740993");
});

test("an instant that no calendar has is shown as a number", () => {
  expect(cellOf(9_000_000_000_000_000_000n, "datetime").text).toBe("9000000000000000000 µs");
});
