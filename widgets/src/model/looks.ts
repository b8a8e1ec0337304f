// A value as its column's format draws it. drawings.py in livedb/notebook draws the same for static HTML;
// test/looks.json holds cases that both must agree on. It works on the exact text of a cell, once for a
// row that comes; what a format does not fit has none, and is shown as it is. No DOM.

import { type Cell, NUMERIC, visible } from "./cells.js";
import { numberIn, textIn } from "./formats.js";
import type { Fields, Kind } from "./messages.js";

/** What a column's values are drawn as; the fields are those of the class of that name. */
export type LookFormat =
  | { type: "number"; format: string; unit: string }
  | { type: "progress"; format: string; low: number; high: number }
  | { type: "date"; format: string }
  | { type: "link"; text: string | null }
  | { type: "image" }
  | { type: "badge"; colors: Readonly<Record<string, string>> }
  | { type: "sparkline"; low: number | null; high: number | null };

/** What stands in a cell; `text` is it in words. */
export type Figure = { text: string } & (
  | { type: "text" }
  /** From 0 to 1. */
  | { type: "progress"; share: number }
  | { type: "link"; href: string }
  /** [text, colour] */
  | { type: "badges"; badges: readonly (readonly [string, string])[] }
  | { type: "image"; src: string }
  /** A picture that the kernel has, as it is called there. */
  | { type: "stored"; name: string }
  /** From 0 below to 1 above; null is a gap. */
  | { type: "sparkline"; heights: readonly (number | null)[] }
);

/** Characters at which the kernel cuts a text, as in livedb/notebook/cells.py. */
const CELL_CHARACTERS_MAX = 1_000;

// Spaces and control characters are in no address; `visible` has given the latter a sign.
const LINK = /^(?:https?:\/\/[^\0-\x20\x7f/?#\\]|mailto:)[^\0-\x20\x7f\u2400-\u2421\u23ce]+$/i;
const STORED = /^(?:[0-9a-hjkmnp-tv-z]{31,37}|[a-z0-9]+:\/\/[^\0-\x20\x7f]+\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;
const IMAGE = /^(?:https?:\/\/[^\0-\x20\x7f]+|data:image\/(?:png|jpeg|gif|webp);base64,[a-z0-9+/]+=*)$/i;
const NUMBER = /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/;
const NUMBER_FORMAT = /^(\+?)(,?)(?:(?:\.(\d+))?([fe%]))?$/;
const INSTANT = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)?(?:Z|\+00:?00)?)?$/;
const MONTHS = "January,February,March,April,May,June,July,August,September,October,November,December".split(",");
const DAYS = "Sunday,Monday,Tuesday,Wednesday,Thursday,Friday,Saturday".split(",");

/** How `format` draws a cell; `figures` is what came for it beside its value. */
export function figureOf(cell: Cell, kind: Kind, format: LookFormat, figures: unknown): Figure | null {
  if (kind === "id" && format.type !== "image") return null;
  if (cell.dim && (kind !== "boolean" || cell.text === "null")) return null;
  switch (format.type) {
    case "number":
    case "progress":
      return figureOfNumber(cell, kind, format);
    case "date": {
      const text = dateText(cell.title || cell.text, format.format);
      return text === null ? null : { type: "text", text };
    }
    case "link":
      if (!LINK.test(cell.text) || isCut(cell.text)) return null;
      return { type: "link", text: format.text ?? cell.text, href: cell.text };
    case "badge":
      return figureOfBadges(cell, kind, format.colors);
    case "image":
      if (typeof figures !== "string") return null;
      if (IMAGE.test(figures)) return { type: "image", text: "", src: figures };
      return isStored(figures) ? { type: "stored", text: "", name: figures } : null;
    case "sparkline":
      return figureOfLine(figures, format.low, format.high);
  }
}

/** Whether an address may be of a file of the workspace. */
export const isStored = (address: string): boolean => STORED.test(address);

/** Null for one that this version does not know. */
export function readLookFormat(fields: Fields): LookFormat | null {
  const format = textIn(fields, "format") ?? "";
  const [low, high] = [numberIn(fields, "low"), numberIn(fields, "high")];
  switch (fields["type"]) {
    case "number":
      return { type: "number", format, unit: textIn(fields, "unit") ?? "" };
    case "progress":
      return { type: "progress", format, low: low ?? 0, high: high ?? 1 };
    case "date":
      return { type: "date", format };
    case "link":
      return { type: "link", text: textIn(fields, "text") };
    case "image":
      return { type: "image" };
    case "badge":
      return { type: "badge", colors: { ...(fields["colors"] as Record<string, string>) } };
    case "sparkline":
      return { type: "sparkline", low, high };
    default:
      return null;
  }
}

const isCut = (text: string): boolean => text.length >= CELL_CHARACTERS_MAX && text.endsWith("…");

function figureOfNumber(cell: Cell, kind: Kind, format: LookFormat & { type: "number" | "progress" }): Figure | null {
  const exact = cell.title || cell.text;
  if (!NUMERIC.has(kind) || !NUMBER.test(exact)) return null;
  const text = numberText(cell.text, Number(exact), format.format);
  if (text === null) return null;
  if (format.type === "number") return { type: "text", text: format.unit === "" ? text : `${text} ${format.unit}` };
  const share = (Number(exact) - format.low) / (format.high - format.low);
  return { type: "progress", text, share: Math.max(0, Math.min(share, 1)) };
}

/** As Python's format(value, written); without a type it is the value's plain text. */
export function numberText(plain: string, value: number, written: string): string | null {
  const [, plus = "", comma = "", digits = "6", type = ""] = NUMBER_FORMAT.exec(written) ?? [];
  if (type !== "" && !Number.isFinite(value)) return null;
  const isBelow = type === "" ? plain.startsWith("-") : value < 0 || Object.is(value, -0);
  const text = type === "" ? plain.replace("-", "") : digitsText(Math.abs(value), Number(digits), type);
  const [, whole = "", rest = ""] = /^(\d+)(.*)$/.exec(text) ?? [];
  const grouped = comma === "" || rest.startsWith("e") ? whole : whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return `${isBelow ? "-" : plus}${grouped}${rest}`;
}

function digitsText(value: number, digits: number, type: string): string {
  if (type === "%") return `${fixed(value * 100, digits)}%`;
  if (type === "f") return fixed(value, digits);
  const [mantissa = "", power = ""] = halfToEven(value, (each, count) => each.toExponential(count), digits).split("e");
  return `${mantissa}e${power.slice(0, 1)}${power.slice(1).padStart(2, "0")}`;
}

function fixed(value: number, digits: number): string {
  if (value >= 1e21) return BigInt(value).toString() + (digits > 0 ? `.${"0".repeat(digits)}` : "");
  return halfToEven(value, (each, count) => each.toFixed(count), digits);
}

/** JavaScript rounds a half up, Python to the even digit; only what a number is exactly is a half. */
function halfToEven(value: number, write: (value: number, digits: number) => string, digits: number): string {
  const up = write(value, digits);
  if (!/5(?:e|$)/.test(write(value, digits + 1))) return up; // nowhere near a half
  const exact = write(value, 100);
  const at = (exact.split("e")[0] ?? "").replace(/0+$/, "");
  const isHalf = at.endsWith("5") && at.length - at.indexOf(".") - 1 === digits + 1;
  if (!isHalf) return up;
  const power = exact.includes("e") ? `e${exact.split("e")[1]}` : "";
  const down = at.slice(0, digits === 0 ? -2 : -1); // cut off
  return "02468".includes(down.slice(-1)) ? down + power : up;
}

function dateText(exact: string, written: string): string | null {
  const [, day = "", minute = "00:00", second = "00", below = ""] = INSTANT.exec(exact) ?? [];
  const date = new Date(`${day}T${minute}:${second}Z`);
  const iso = Number.isNaN(date.getTime()) ? "" : date.toISOString();
  if (!iso.startsWith(`${day}T${minute}:${second}`) || day < "0001") return null; // such as 2026-02-30
  const [year = "", month = "", dayOfMonth = ""] = day.split("-");
  const [hour = "", minutes = ""] = minute.split(":");
  const dayName = DAYS[date.getUTCDay()] ?? "";
  const monthName = MONTHS[Number(month) - 1] ?? "";
  const codes: Record<string, string> = {
    Y: year, y: year.slice(2), m: month, d: dayOfMonth, B: monthName, b: monthName.slice(0, 3), A: dayName, a: dayName.slice(0, 3),
    H: hour, I: String(Number(hour) % 12 || 12).padStart(2, "0"), M: minutes, S: second, f: below.padEnd(6, "0"),
    p: Number(hour) < 12 ? "AM" : "PM", "%": "%",
    j: String(Math.floor((date.getTime() - Date.parse(`${year}-01-01T00:00Z`)) / 86_400_000) + 1).padStart(3, "0"),
  };
  return written.replace(/%(.)/g, (whole, code: string) => codes[code] ?? whole);
}

function figureOfBadges(cell: Cell, kind: Kind, colors: Readonly<Record<string, string>>): Figure | null {
  if (["datetime", "bytes", "number"].includes(kind)) return null;
  const labels = labelsOf(cell.text, kind === "json");
  if (labels.length === 0) return null;
  const badges = labels.map((text) => [visible(text), Object.hasOwn(colors, text) ? String(colors[text]) : "gray"] as const);
  return { type: "badges", text: badges.map(([text]) => text).join(", "), badges };
}

/** The texts of a list in JSON; any other text as it is. */
function labelsOf(text: string, isJson: boolean): string[] {
  let value: unknown = text;
  try {
    if (/^[[{]/.test(text) && !isCut(text)) value = JSON.parse(text);
  } catch {} // just a text
  if (Array.isArray(value)) return value.every((each) => typeof each === "string") ? value : [];
  return value === text && !isJson ? [text] : [];
}

function figureOfLine(figures: unknown, least: number | null, greatest: number | null): Figure | null {
  if (typeof figures !== "object" || figures === null || !(Symbol.iterator in figures)) return null;
  const points = Array.from(figures as Iterable<unknown>, (each) => (typeof each === "number" && Number.isFinite(each) ? each : null));
  const known = points.filter((each) => each !== null);
  if (known.length === 0) return null;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const [bottom, top] = [least ?? low, greatest ?? high];
  const heightOf = (each: number): number => (top > bottom ? Math.max(0, Math.min((each - bottom) / (top - bottom), 1)) : 0.5);
  return {
    type: "sparkline",
    text: `first ${shown(known[0])}, last ${shown(known.at(-1))}, least ${shown(low)}, greatest ${shown(high)}`,
    heights: points.map((each) => (each === null ? null : heightOf(each))),
  };
}

const shown = (value = 0): string => String(Number(value.toPrecision(6)));
