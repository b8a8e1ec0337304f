// One value as a person reads it. `text_of_cell` in livedb/notebook/cells.py draws the same for
// static HTML; test/cells.json holds cases that both must agree on.

import type { Look } from "./formats.js";
import type { Kind } from "./messages.js";

export interface Cell {
  text: string;
  /** More than the text says: the exact value, shown in a tooltip and copied; "" if the text is exact. */
  title: string;
  /** Not a value's own text: null, NaN, empty. */
  dim: boolean;
  /** What its column's format makes of it; none where it is shown as it is. */
  look?: Look;
}

export const NUMERIC: ReadonlySet<Kind> = new Set<Kind>(["integer", "float", "number"]);

const NULL: Cell = { text: "null", title: "", dim: true };
const EMPTY: Cell = { text: '""', title: "empty text", dim: true };
const SHORT_ID_LENGTH = 12;
const SHORT_FLOAT_LENGTH = 12;

export function cellOf(value: unknown, kind: Kind): Cell {
  if (value === null || value === undefined) return NULL;
  if (kind === "float" && typeof value === "number") return cellOfFloat(value);
  if (kind === "boolean") return { text: value ? "true" : "false", title: "", dim: !value };
  if (kind === "datetime" && typeof value === "bigint") return cellOfInstant(value);
  const text = String(value);
  if (kind === "id") return cellOfId(text);
  return text === "" ? EMPTY : plain(visible(text));
}

const plain = (text: string): Cell => ({ text, title: "", dim: false });

function cellOfFloat(value: number): Cell {
  if (Number.isNaN(value)) return { text: "NaN", title: "", dim: true };
  if (!Number.isFinite(value)) return plain(value > 0 ? "∞" : "-∞");
  const exact = digits(value);
  if (exact.length <= SHORT_FLOAT_LENGTH) return plain(exact);
  const text = digits(Number(value.toPrecision(8)));
  return { text, title: text === exact ? "" : exact, dim: false };
}

/** The shortest digits that are `value`; JavaScript's own, but with the sign of -0. */
const digits = (value: number): string => (Object.is(value, -0) ? "-0" : String(value));

/** Digits after a number's point; null where there is none to line up, as in 1e+300 or ∞. */
export function fractionDigits(text: string): number | null {
  const parts = /^-?\d+(?:\.(\d+))?$/.exec(text);
  return parts === null ? null : (parts[1] ?? "").length;
}

function cellOfId(text: string): Cell {
  if (text.length <= SHORT_ID_LENGTH) return plain(visible(text));
  return { text: visible(`${text.slice(0, 3)}…${text.slice(-6)}`), title: text, dim: false };
}

function cellOfInstant(microseconds: bigint): Cell {
  const date = new Date(Number(floorDivide(microseconds, 1000n)));
  if (Number.isNaN(date.getTime())) return plain(`${microseconds} µs`);
  const day = date.toISOString(); // 2026-11-23T23:22:31.000Z
  const below = String(microseconds - floorDivide(microseconds, 1_000_000n) * 1_000_000n).padStart(6, "0");
  const fraction = below.replace(/0+$/, "");
  const seconds = day.slice(0, -5);
  const milliseconds = below.slice(0, 3); // all three digits or none; the title has the rest
  return {
    text: seconds.replace("T", " ") + (milliseconds === "000" ? "" : `.${milliseconds}`),
    title: `${seconds}${fraction === "" ? "" : `.${fraction}`}+00:00`,
    dim: false,
  };
}

/** Rounds towards minus infinity, as instants before 1970 need. */
function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}

/** On one line, as it is: what breaks lines, turns the rest around or is not to be seen gets a visible sign. */
export function visible(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  return text.replace(/[\u0000-\u001f\u007f\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]/g, (sign) => {
    if (sign === "\n") return "⏎";
    if (sign >= "\u0080") return /[\u200b\u2060\ufeff]/.test(sign) ? "·" : "↔";
    return sign === "\u007f" ? "␡" : String.fromCharCode(0x2400 + sign.charCodeAt(0));
  });
}
