// The line under a table: its state as a sign and words, its size, its commit. Never colour alone.

import type { TableState } from "../model/messages.js";
import type { Status } from "../model/store.js";

interface Wording {
  sign: string;
  words: string;
  /** What to do about it; shown above the rows, "" when there is nothing to do. */
  advice: string;
}

const WORDINGS: Record<Status, Wording> = {
  live: { sign: "●", words: "live", advice: "" },
  waiting: { sign: "◔", words: "waiting for the kernel", advice: "" },
  saved: { sign: "○", words: "stored rows", advice: "" },
  stale: { sign: "◌", words: "stale", advice: "The kernel was restarted or is gone. These are the last rows it sent; run the cell again." },
  closed: { sign: "◌", words: "closed", advice: "This table was closed or replaced, so it no longer follows." },
};

export interface Footer {
  element: HTMLElement;
  update: (state: TableState | null, status: Status) => void;
}

/** What a reader should know before trusting the rows; "" when all is well. */
export function adviceFor(status: Status): string {
  return WORDINGS[status].advice;
}

export function createFooter(): Footer {
  const element = div("livedb-footer");
  const sign = element.appendChild(span("livedb-sign"));
  const words = element.appendChild(span("livedb-words"));
  const size = element.appendChild(span("livedb-size"));
  const commit = element.appendChild(span("livedb-commit"));
  sign.setAttribute("aria-hidden", "true");
  words.setAttribute("role", "status");

  const update = (state: TableState | null, status: Status): void => {
    const hasFailed = status === "live" && state !== null && state.error !== null;
    const wording = hasFailed ? { sign: "▲", words: "error, last good rows" } : WORDINGS[status];
    setText(sign, wording.sign);
    setText(words, wording.words);
    setText(size, state === null || state.shape !== "rows" ? "" : rowsText(state.rowCount));
    setText(commit, state === null ? "" : `commit ${grouped(state.number)}`);
  };
  return { element, update };
}

export const rowsText = (count: number): string => `${grouped(count)} row${count === 1 ? "" : "s"}`;

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

function span(className: string): HTMLSpanElement {
  const element = document.createElement("span");
  element.className = className;
  return element;
}
