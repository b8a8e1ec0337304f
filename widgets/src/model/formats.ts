// How columns are to be shown, as livedb/notebook/formats.py says it. Data, never code.

import type { Cell } from "./cells.js";
import type { Column, Fields, Kind } from "./messages.js";

export interface Format {
  label: string | null;
  help: string | null;
  /** px, at first, as what follows. */
  width: number | null;
  hidden: boolean;
  pinned: boolean;
  /** How its values are drawn, for model/looks.ts; null for as they are. */
  look: Fields | null;
}

/** What stands in a cell instead of its plain text. */
export interface Look {
  /** It in words. */
  text: string;
  /** What who points at it is told. */
  title: string;
  /** Two looks with the same key are drawn alike. */
  key: string;
  /** px beside the text, or in place of it. */
  px: number;
  isPicture: boolean;
  /** Where it leads. */
  href: string | null;
  /** Draws it into a cell of the column `label`; null for one that is but its text. */
  draw: ((cell: HTMLElement, label: string) => void) | null;
}

/** Gives a cell its look by its column's format; null if that does not fit it. */
export type Dress = (cell: Cell, kind: Kind, look: Fields, figures: unknown) => Look | null;

/** Gives what a file of the workspace is made of, by its id or a URL of it; rejects with why there is none. */
export type FetchStored = (name: string) => Promise<Blob>;

/** What the module of looks has for a table; `signal` ends what its pictures take. */
export type MakeDress = (fetch: FetchStored, signal: AbortSignal) => Dress;

export const labelOf = (column: Column | undefined): string => column?.format?.label ?? column?.name ?? "";

/** Whether two formats put their column at the same place. */
export function isPlacedAlike(one: Format | undefined, other: Format | undefined): boolean {
  return placeText(one) === placeText(other);
}

const placeText = (format: Format | undefined): string => [format?.width ?? "", format?.hidden === true, format?.pinned === true].join();

export function readFormat(fields: Fields): Format {
  const look = fields["look"];
  return {
    label: textIn(fields, "label"),
    help: textIn(fields, "help"),
    width: numberIn(fields, "width"),
    hidden: fields["hidden"] === true,
    pinned: fields["pinned"] === true,
    look: typeof look === "object" && look !== null ? (look as Fields) : null,
  };
}

export const textIn = (fields: Fields, name: string): string | null => (typeof fields[name] === "string" ? fields[name] : null);

export const numberIn = (fields: Fields, name: string): number | null => (typeof fields[name] === "number" ? fields[name] : null);
