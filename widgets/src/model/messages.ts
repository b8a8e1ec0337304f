// The messages between a table in the kernel (livedb/notebook/widgets.py, feed.py, publisher.py) and
// its views on a page. What arrives is `unknown` until a guard here has read it.

import type { Arrangement } from "./arrangement.js";
import { type Format as ColumnFormat, readFormat } from "./formats.js";
import { type Profile, readProfile } from "./profiles.js";

export type Kind =
  | "integer" | "float" | "number" | "boolean" | "datetime"
  | "id" | "text" | "json" | "bytes" | "name";

export type Shape = "rows" | "record" | "value";

export interface Column {
  name: string;
  kind: Kind;
  /** How it is shown; none for as it is. */
  format?: ColumnFormat;
}

/** What of a result seldom changes; mirrors `_head_of` in feed.py. */
export interface Head {
  title: string;
  columns: Column[];
  shape: Shape;
}

/** What changes with every commit, besides rows; mirrors `_news_of` in feed.py. */
export interface News {
  sequence: number;
  /** Which head it goes with; -1 for stored rows. */
  head: number;
  /** Commit number that this state is exact at. */
  number: number;
  rowCount: number;
  /** Message of the last run if it failed; the rows are then the last good ones. */
  error: string | null;
  /** Why it follows nothing any more; null while it is live. */
  ended: string | null;
}

/** What a page knows of a result besides its rows. */
export type TableState = Head & News;

/** The rows of one view's window, whole. */
export interface WindowContent {
  start: number;
  rows: number;
  /** Rows that this view's arrangement leaves; null or none for all of them. */
  count?: number | null;
  /** One key per row, or null when keys cannot name rows. */
  keys: string[] | null;
  buffer: number | null;
}

/** One view's part of an update: a whole window, or runs over the window numbered `base`. */
export interface Patch extends WindowContent {
  view: string;
  base: number;
  /** [from, count]: from >= 0 is a row of the old window, from < 0 is row -1-from of the new rows. */
  runs: [number, number][] | null;
  /** The new rows when they are few, a list of values for each column; else they are in the buffer. */
  cells: unknown[][] | null;
}

export interface Entry {
  address: string;
  sequence: number;
  /** Null in a mere sign of life. */
  news: News | null;
  /** Null when it is the one of the update before. */
  head: Head | null;
  patches: Patch[];
  /** Where this entry's buffers begin in the message. */
  buffers: number;
}

export type Incoming =
  | { kind: "batch"; batch: number; entries: Entry[] }
  | { kind: "reply"; id: number; failed: string }
  | { kind: "reply"; id: number; failed: null; state: TableState; content: WindowContent }
  | { kind: "outcome"; id: number; outcome: Outcome }
  | { kind: "profiles"; view: string; columns: [number, Profile][] }
  | { kind: "part"; id: number }
  | { kind: "reference"; id: number; reference: Reference }
  | { kind: "selected"; id: number; keys: string[] }
  | ({ kind: "file"; id: number } & FilePart)
  | { kind: "closed"; ended: string };

/** What became of a step of an edit; mirrors `Outcome` in editing.py. */
export interface Outcome {
  state: "open" | "done" | "changed" | "gone" | "refused";
  /** What to edit, or what others wrote meanwhile. */
  text: string;
  problem: string | null;
  field: string | null;
  /** Commit number of the rows that hold it. */
  number: number;
}

/** A piece of a file that the kernel wrote for a page. */
export interface FilePart {
  name: string;
  part: number;
  parts: number;
  /** Why there is no file. */
  failed: string | null;
}

/** The document that an id names; no table where it names none, no fields where it is gone. */
export interface Reference {
  table: string | null;
  /** [name, text, whether it is an id that can be followed] */
  fields: [string, string, boolean][] | null;
}

export type Format = "csv" | "parquet" | "arrow" | "tsv";

/** A step of an edit; a page names each edit. */
export type EditStep =
  | { step: "open"; edit: string; key: string; field: string }
  | { step: "check"; edit: string; text: string }
  | { step: "commit"; edit: string; text: string; clears: boolean; overwrites: boolean }
  | { step: "cancel"; edit: string }
  | { step: "judge"; field: string; text: string }
  | { step: "insert"; texts: Record<string, string> }
  | { step: "delete"; keys: readonly string[] }
  | { step: "undo" }
  | { step: "redo" };

export type Outgoing =
  | { kind: "rows"; id: number; realm: string; view: string; start: number; stop: number; arrangement: Arrangement | null }
  | ({ kind: "edit"; id: number; realm: string } & EditStep)
  | { kind: "profiles"; realm: string; view: string; columns: readonly number[] }
  | ({ kind: "select"; id: number; realm: string; view: string; cell: [string, number] | null } & (
      | { keys: readonly string[] } | { start: number; stop: number }
    ))
  | { kind: "export"; id: number; realm: string; view: string; format: Format; columns: readonly number[]; selected: boolean }
  | { kind: "reference"; id: number; realm: string; key: string }
  | { kind: "stored"; id: number; realm: string; file: string; picture: boolean }
  | { kind: "part"; id: number; realm: string; name: "desk" }
  | { kind: "acknowledge"; realm: string; batch: number }
  | { kind: "close"; realm: string; view: string };

export type Fields = Record<string, unknown>;

const KINDS: readonly string[] = [
  "integer", "float", "number", "boolean", "datetime", "id", "text", "json", "bytes", "name",
];

/** Read a message of the kernel; null for a kind that this version does not know. */
export function readIncoming(message: unknown): Incoming | null {
  const fields = asFields(message);
  switch (fields["kind"]) {
    case "batch":
      return { kind: "batch", batch: whole(fields, "batch"), entries: list(fields, "entries").map(readEntry) };
    case "reply":
      return readReply(fields);
    case "outcome":
      return { kind: "outcome", id: whole(fields, "id"), outcome: readOutcome(fields) };
    case "profiles":
      return { kind: "profiles", view: text(fields, "view"), columns: list(fields, "columns").map(readProfiled) };
    case "part":
      return { kind: "part", id: whole(fields, "id") };
    case "reference":
      return { kind: "reference", id: whole(fields, "id"), reference: readReference(fields) };
    case "selected":
      return { kind: "selected", id: whole(fields, "id"), keys: list(fields, "keys").map(String) };
    case "file":
      return { kind: "file", id: whole(fields, "id"), ...readFilePart(fields) };
    case "closed":
      return { kind: "closed", ended: text(fields, "ended") };
    default:
      return null;
  }
}

function readReply(fields: Fields): Incoming {
  const id = whole(fields, "id");
  if (typeof fields["failed"] === "string") return { kind: "reply", id, failed: fields["failed"] };
  return { kind: "reply", id, failed: null, state: readState(fields), content: readWindow(fields, 0) };
}

const STATES: readonly string[] = ["open", "done", "changed", "gone", "refused"];

function readOutcome(fields: Fields): Outcome {
  const state = text(fields, "state");
  if (!STATES.includes(state)) return fail("state");
  const orNull = (name: string): string | null => (typeof fields[name] === "string" ? fields[name] : null);
  return {
    state: state as Outcome["state"],
    text: text(fields, "text"),
    problem: orNull("problem"),
    field: orNull("field"),
    number: whole(fields, "number"),
  };
}

function readFilePart(fields: Fields): FilePart {
  if (typeof fields["failed"] === "string") return { name: "", part: 0, parts: 1, failed: fields["failed"] };
  return { name: text(fields, "name"), part: whole(fields, "part"), parts: whole(fields, "parts"), failed: null };
}

function readReference(fields: Fields): Reference {
  const table = typeof fields["table"] === "string" ? fields["table"] : null;
  if (!Array.isArray(fields["fields"])) return { table, fields: null };
  return {
    table,
    fields: fields["fields"].map((each): [string, string, boolean] => {
      if (!Array.isArray(each)) return fail("field");
      return [String(each[0]), String(each[1]), each[2] === true];
    }),
  };
}

function readProfiled(pair: unknown): [number, Profile] {
  if (!Array.isArray(pair) || !Number.isInteger(pair[0])) fail("profile");
  return [pair[0], readProfile(asFields(pair[1]))];
}

function readEntry(entry: unknown): Entry {
  const fields = asFields(entry);
  const isBeat = fields["beat"] === true;
  return {
    address: text(fields, "address"),
    sequence: whole(fields, "sequence"),
    news: isBeat ? null : readNews(fields),
    head: isBeat || fields["columns"] === undefined ? null : readHead(fields),
    patches: isBeat ? [] : list(fields, "views").map(readPatch),
    buffers: whole(fields, "buffers"),
  };
}

function readPatch(patch: unknown): Patch {
  const fields = asFields(patch);
  const runs = fields["runs"] === undefined ? null : list(fields, "runs").map(readRun);
  const window = readWindow(fields, null);
  const cells = fields["cells"] === undefined ? null : list(fields, "cells").map(asList);
  return { ...window, view: text(fields, "view"), base: whole(fields, "base"), runs, cells };
}

function readRun(run: unknown): [number, number] {
  if (!Array.isArray(run) || !Number.isInteger(run[0]) || !Number.isInteger(run[1])) fail("run");
  return [run[0], run[1]];
}

function readWindow(fields: Fields, buffer: number | null): WindowContent {
  const keys = fields["keys"];
  return {
    start: whole(fields, "start"),
    rows: fields["runs"] === undefined ? whole(fields, "rows") : 0,
    count: typeof fields["count"] === "number" ? fields["count"] : null,
    keys: Array.isArray(keys) ? keys.map(String) : null,
    buffer: typeof fields["buffer"] === "number" ? fields["buffer"] : buffer,
  };
}

export function readState(value: unknown): TableState {
  const fields = asFields(value);
  return { ...readHead(fields), ...readNews(fields) };
}

function readHead(fields: Fields): Head {
  const shape = fields["shape"];
  return {
    title: text(fields, "title"),
    columns: list(fields, "columns").map(readColumn),
    shape: shape === "record" || shape === "value" ? shape : "rows",
  };
}

function readNews(fields: Fields): News {
  return {
    sequence: typeof fields["sequence"] === "number" ? fields["sequence"] : -1,
    head: typeof fields["head"] === "number" ? fields["head"] : -1,
    number: whole(fields, "number"),
    rowCount: whole(fields, "row_count"),
    error: typeof fields["error"] === "string" ? fields["error"] : null,
    ended: typeof fields["ended"] === "string" ? fields["ended"] : null,
  };
}

function readColumn(column: unknown): Column {
  if (!Array.isArray(column)) return fail("column");
  const kind: string = KINDS.includes(column[1]) ? column[1] : "text";
  const read = { name: String(column[0]), kind: kind as Kind };
  return column[2] == null ? read : { ...read, format: readFormat(asFields(column[2])) };
}

export function asFields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : fail("object");
}

export function whole(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === "number" && Number.isInteger(value) ? value : fail(name);
}

export function text(fields: Fields, name: string): string {
  const value = fields[name];
  return typeof value === "string" ? value : fail(name);
}

export function list(fields: Fields, name: string): unknown[] {
  const value = fields[name];
  return Array.isArray(value) ? value : fail(name);
}

const asList = (value: unknown): unknown[] => (Array.isArray(value) ? value : fail("list"));

function fail(name: string): never {
  throw new TypeError(`livedb: a message of the kernel has no valid ${name}`);
}
