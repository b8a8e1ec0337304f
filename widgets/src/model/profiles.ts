// What the head of a column tells, as livedb/notebook/profiles.py counts it: texts for a reader, and the
// filters that find what each bar counts. No DOM.

import type { Column, Kind } from "./messages.js";
import { type Fields, list, text, whole } from "./messages.js";

/** How many values of a column, of which how many are missing, and how many are in each bar. */
export interface Counts {
  count: number;
  nulls: number;
  bars: number[];
}

export interface Profile extends Counts {
  /** Of the column that was counted: it may have moved since. */
  name: string;
  /** Different values; null when they were not counted. */
  distinct: number | null;
  /** The edges of a histogram's bars, one more than bars; null without a histogram. */
  edges: string[] | null;
  /** The least and the greatest value, with a histogram. */
  low: string;
  high: string;
  /** The commonest values as drawn, each with the filter that finds it, if one can say it. */
  values: [string, string | null][] | null;
  /** The same of the rows that the view's filters leave; null when it has none. */
  found: Counts | null;
}

/** A bar of a histogram, or one of the commonest values. */
export interface Bar {
  /** How a reader knows it: `0..<10`, `Oslo`. */
  name: string;
  filter: string | null;
  /** Values in it, and those of them that the view's filters leave. */
  count: number;
  found: number;
}

export function readProfile(fields: Fields): Profile {
  const values = Array.isArray(fields["values"]) ? fields["values"].map(readValue) : null;
  const counts = values ?? null;
  const found = fields["found"];
  return {
    name: text(fields, "name"),
    count: whole(fields, "count"),
    nulls: whole(fields, "nulls"),
    distinct: typeof fields["distinct"] === "number" ? fields["distinct"] : null,
    edges: Array.isArray(fields["edges"]) ? fields["edges"].map(String) : null,
    bars: counts === null ? numbers(fields) : counts.map(([, , count]) => count),
    low: String(fields["low"] ?? ""),
    high: String(fields["high"] ?? ""),
    values: values?.map(([name, filter]): [string, string | null] => [name, filter]) ?? null,
    found: typeof found === "object" && found !== null ? readCounts(found as Fields) : null,
  };
}

const readCounts = (fields: Fields): Counts => ({
  count: whole(fields, "count"),
  nulls: whole(fields, "nulls"),
  bars: numbers(fields),
});

const numbers = (fields: Fields): number[] => (fields["bars"] === undefined ? [] : list(fields, "bars").map(Number));

function readValue(value: unknown): [string, string | null, number] {
  if (!Array.isArray(value)) throw new TypeError("livedb: a message of the kernel has no valid value");
  return [String(value[0]), typeof value[1] === "string" ? value[1] : null, Number(value[2])];
}

export function barsOf({ edges, values, bars, found }: Profile): Bar[] {
  const names = values ?? edges?.slice(0, -1).map((low, at): [string, string] => {
    const range = rangeFilter(low, edges[at + 1] ?? "");
    return [range, range];
  });
  return (names ?? []).map(([name, filter], at) => {
    const count = bars[at] ?? 0;
    return { name, filter, count, found: found?.bars[at] ?? (found === null ? count : 0) };
  });
}

/** From one edge up to, but not at, another. */
export const rangeFilter = (low: string, high: string): string => `${low}..<${high}`;

const grouped = (count: number): string => count.toLocaleString("en-US");
const rows = (count: number): string => `${grouped(count)} row${count === 1 ? "" : "s"}`;

/** A part as a person says it: never 0 % of something, nor 100 % of not all. */
export function share(part: number, whole: number): string {
  if (part === 0 || part === whole) return part === 0 ? "0 %" : "100 %";
  const percent = Math.round((100 * part) / whole);
  if (percent === 0) return "<1 %";
  return percent === 100 ? ">99 %" : `${percent} %`;
}

/** A bar in words: `0..<10: 1,234 rows, 12 %`; with filters `… 60 of 1,234 rows`. */
export function barText({ name, count, found }: Bar, { count: all, found: filtered }: Profile): string {
  const which = filtered === null ? rows(count) : `${grouped(found)} of ${rows(count)}`;
  return `${name}: ${which}, ${share(count, all)}`;
}

const TYPES: Partial<Record<Kind, string>> = { number: "decimal", datetime: "time", name: "text" };

/** The type of a column, and how many different values it has. */
export function typeText({ kind }: Column, profile: Profile | null): string {
  const type = TYPES[kind] ?? kind;
  const { distinct, values } = profile ?? { distinct: null, values: null };
  if (distinct === null || kind === "boolean" || kind === "id") return type;
  return distinct > (values?.length ?? 0) ? `${type} · ${grouped(distinct)} distinct` : type;
}

/** The missing values; "" when there are none. */
export const nullsText = ({ nulls, count }: Profile): string => (nulls === 0 ? "" : `${share(nulls, count)} null`);

/** All of it in words, for a tooltip and for who does not see the bars. */
export function profileText(column: Column, profile: Profile): string {
  const { low, high, nulls, count, distinct, edges } = profile;
  const parts = [typeText(column, null)];
  if (edges !== null) parts.push(low === high ? `always ${low}` : `${low} to ${high}`);
  if (distinct !== null) parts.push(`${grouped(distinct)} distinct`);
  parts.push(nulls === 0 ? "no nulls" : `${grouped(nulls)} of ${rows(count)} null`);
  return parts.join(", ");
}
