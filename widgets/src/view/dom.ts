// The elements of a table's view, and what only they can tell: how wide a text is in the host's fonts.

import type { Fonts } from "../model/columns.js";
import type { Sort } from "../model/arrangement.js";
import { NUMERIC } from "../model/cells.js";
import { labelOf } from "../model/formats.js";
import type { Column } from "../model/messages.js";
import { createFooter, div } from "./footer.js";

/** Width of a character where there is no canvas to measure with. */
const CHARACTER_PX = 7.2;

/** Measures texts in the host's fonts. */
export function fontsOf(root: HTMLElement, head: HTMLElement): Fonts {
  const pen = document.createElement("canvas").getContext?.("2d") ?? null;
  const measureIn = (font: string) => (text: string): number => {
    if (pen === null) return text.length * CHARACTER_PX;
    pen.font = font;
    return pen.measureText(text).width;
  };
  const style = getComputedStyle(root);
  const monospace = style.getPropertyValue("--livedb-mono") || "monospace";
  const headSize = getComputedStyle(head.firstElementChild ?? root).fontSize || "12px";
  return {
    plainPx: measureIn(`13px ${style.fontFamily}`),
    headPx: measureIn(`600 ${headSize} ${style.fontFamily}`),
    monospacePx: measureIn(`12px ${monospace}`),
  };
}

export function headCell(column: Column | undefined): HTMLTableCellElement {
  const { name, kind } = column ?? { name: "", kind: "text" };
  const cell = document.createElement("th");
  cell.scope = "col";
  cell.setAttribute("role", "columnheader");
  cell.textContent = labelOf(column);
  const told = column?.format?.help ?? null;
  cell.title = `${told === null ? "" : `${told}\n`}${name} (${kind === "datetime" ? "UTC" : kind}); click to sort, with Shift by more columns`;
  cell.classList.toggle("livedb-number", NUMERIC.has(kind));
  return cell;
}

/** Show on a column's head how the rows are sorted by it. */
export function markSort(head: HTMLTableCellElement, sorts: readonly Sort[], column: number): void {
  const at = sorts.findIndex(([each]) => each === column);
  const isDescending = sorts[at]?.[1];
  head.setAttribute("aria-sort", isDescending === undefined ? "none" : isDescending ? "descending" : "ascending");
  const sign = isDescending === undefined ? "" : isDescending ? "▼" : "▲";
  head.dataset["sort"] = sign !== "" && sorts.length > 1 ? `${sign}${at + 1}` : sign;
}

export type Dom = ReturnType<typeof buildDom>;

export function buildDom(root: HTMLElement) {
  root.classList.add("livedb");
  const bar = root.appendChild(div("livedb-bar"));
  const title = bar.appendChild(div("livedb-title"));
  const error = root.appendChild(div("livedb-error"));
  const advice = root.appendChild(div("livedb-advice"));
  const frame = root.appendChild(div("livedb-frame"));
  const scroller = frame.appendChild(div("livedb-scroller"));
  const sizer = scroller.appendChild(div("livedb-sizer"));
  const pane = sizer.appendChild(div("livedb-pane"));
  const empty = root.appendChild(div("livedb-empty"));
  const footer = createFooter();
  const said = div("livedb-said");
  said.setAttribute("role", "status");
  root.append(footer.element, said);
  const table = pane.appendChild(document.createElement("table"));
  const widths = table.appendChild(document.createElement("colgroup"));
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  error.setAttribute("role", "alert");
  advice.setAttribute("role", "alert");
  empty.textContent = "no rows";
  for (const each of [bar, error, advice, empty, said]) each.hidden = true;
  table.setAttribute("role", "grid");
  head.setAttribute("aria-rowindex", "1");
  table.tabIndex = 0;
  scroller.tabIndex = -1; // otherwise Chromium makes it a second stop of the Tab key
  table.dataset["lmSuppressShortcuts"] = "true"; // JupyterLab: arrow keys are ours while focused
  return { bar, title, error, advice, frame, scroller, sizer, pane, empty, footer, said, table, widths, head, body };
}
