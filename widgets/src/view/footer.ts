// The line under a table: its state as a sign and words, its size, its commit. Never colour alone.

import type { TableState } from "../model/messages.js";
import type { Status } from "../model/store.js";
import type { Range } from "../model/window.js";

/** How a table stands, as its reader sees it. */
export type Standing = Status | "failed";

interface Wording {
  sign: string;
  words: string;
}

const WORDINGS: Record<Standing, Wording> = {
  live: { sign: "●", words: "live" },
  failed: { sign: "▲", words: "error, last good rows" },
  waiting: { sign: "◔", words: "waiting for the kernel" },
  saved: { sign: "○", words: "stored rows" },
  stale: { sign: "◌", words: "stale" },
  closed: { sign: "◌", words: "not live" },
};

const STALE = "The kernel restarted or is gone; these are its last rows. Run the cell again.";

/** `ended` and the kernel's silence outweigh an error of the last run. */
export function standingOf(state: TableState | null, status: Status): Standing {
  if (status === "closed" || state?.ended != null) return "closed";
  return status === "live" && state?.error != null ? "failed" : status;
}

/** What a reader should know before trusting the rows; "" when all is well. */
export function adviceFor(state: TableState | null, status: Status): string {
  if (standingOf(state, status) === "closed") return state?.ended ?? "This table was closed.";
  return status === "stale" ? STALE : "";
}

export interface Extent {
  /** Rows on screen. */
  shown: Range;
  /** Rows as arranged. */
  count: number;
  /** Whether there are more columns than fit. */
  isWide: boolean;
}

export interface Footer {
  element: HTMLElement;
  update: (state: TableState | null, standing: Standing, extent: Extent) => void;
}

export function createFooter(): Footer {
  const element = div("livedb-footer");
  const sign = element.appendChild(span("livedb-sign"));
  const words = element.appendChild(span("livedb-words"));
  const columns = element.appendChild(span("livedb-columns"));
  const size = element.appendChild(span("livedb-size"));
  const commit = element.appendChild(span("livedb-commit"));
  sign.setAttribute("aria-hidden", "true");
  words.setAttribute("role", "status");

  const update: Footer["update"] = (state, standing, { shown, count, isWide }) => {
    const wording = WORDINGS[standing];
    setText(sign, wording.sign);
    const hasRows = state !== null && state.columns.length > 0;
    setText(words, standing === "failed" && !hasRows ? "error" : wording.words);
    setText(columns, state !== null && isWide ? `${grouped(state.columns.length)} columns` : "");
    setText(size, !hasRows || state.shape !== "rows" ? "" : sizeText(count, shown, state.rowCount));
    setText(commit, state === null ? "" : `commit ${grouped(state.number)}`);
    commit.title = standing === "live" ? "Exact at this commit; nothing that it reads has changed since." : "";
  };
  return { element, update };
}

/** Which rows of how many, or just how many when all are in sight; of how many in all, when it is filtered. */
export function sizeText(count: number, { start, stop }: Range, all = count): string {
  const found = `${grouped(count)} row${count === 1 ? "" : "s"}`;
  const rows = count === all ? found : `${found} of ${grouped(all)}`;
  return stop - start >= count ? rows : `${grouped(start + 1)}–${grouped(stop)} of ${rows}`;
}

export const grouped = (count: number): string => count.toLocaleString("en-US");

/** Set an element's text only when it differs: an unchanged node keeps its selection. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function div(className: string): HTMLDivElement {
  const element = document.createElement("div");
  element.className = className;
  return element;
}

export function button(text: string, title = ""): HTMLButtonElement {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.title = title;
  return element;
}

function span(className: string): HTMLSpanElement {
  const element = document.createElement("span");
  element.className = className;
  return element;
}
