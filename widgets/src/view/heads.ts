// What each column holds, under its name: type, share of nulls, and a histogram or its commonest values,
// each bar a button that filters by it. Buttons are kept by their place, so that an update moves no focus.

import type { Filter } from "../model/arrangement.js";
import { labelOf } from "../model/formats.js";
import type { Column } from "../model/messages.js";
import {
  type Bar, barsOf, barText, nullsText, type Profile, profileText, rangeFilter, typeText,
} from "../model/profiles.js";
import type { Slot } from "../model/placement.js";
import { button, div, setText } from "./footer.js";
import { columnAt, createLine } from "./line.js";

/** Height of the row, as in table.css. */
const HEADS_PX = 46;

/** Height of the least bar that counts anything, as part of the greatest. */
const LEAST = 0.08;

export interface Heads {
  row: HTMLTableRowElement;
  /** Shows and hides the row; its place is beside the title. */
  toggle: HTMLButtonElement;
  /** px that the row takes. */
  rowPx: () => number;
  /** Show the row if it is worth it, unless the reader has decided; what is shown stays so. */
  suggest: (isWorth: boolean) => void;
  /** For columns that changed. */
  setColumns: (columns: readonly Column[]) => void;
  /** Hold the heads of these. */
  fit: (slots: readonly Slot[]) => void;
  /** Draw what is known of the columns in sight, and which bars the filters say. */
  draw: (profiles: ReadonlyMap<number, Profile>, filters: readonly Filter[], isEnabled: boolean) => void;
  /** Put the focus on the bars of a column. */
  focus: (column: number) => void;
}

interface Drawn {
  profile: Profile;
  said: string | null;
  isEnabled: boolean;
  bars: Bar[];
}

/** `filterBy` is called when the reader chose a bar; `leave` gives the table the focus. */
export function createHeads(
  filterBy: (column: number, text: string) => void,
  changed: () => void,
  leave: () => void,
  signal: AbortSignal,
): Heads {
  let columns: readonly Column[] = [];
  const drawn = new Map<number, Drawn>();
  let isDecided = false;
  /** Where a drag over a histogram began: column and bar. */
  let pressedAt: [number, number] | null = null;

  const row = document.createElement("tr");
  row.className = "livedb-heads";
  row.setAttribute("role", "row");
  row.hidden = true;
  row.dataset["lmSuppressShortcuts"] = "true"; // JupyterLab: Enter and Space are the bars'

  const line = createLine(row, (at) => {
    drawn.delete(at);
    return emptyHead(columns[at]);
  });

  const draw: Heads["draw"] = (profiles, filters, isEnabled) => {
    if (row.hidden) return;
    for (const [at, profile] of profiles) {
      const cell = line.cellOf(at);
      const column = columns[at];
      if (cell === undefined || profile.name !== column?.name) continue;
      const said = filters.find(([each]) => each === at)?.[1] ?? null;
      const known = drawn.get(at);
      if (known?.profile === profile && known.said === said && known.isEnabled === isEnabled) continue;
      const now = { profile, said, isEnabled, bars: column.format?.look?.["type"] === "image" ? [] : barsOf(profile) };
      drawn.set(at, now);
      drawHead(cell, column, now);
    }
  };

  const placeOf = (target: EventTarget | null): [number, number] | null => {
    const bar = (target as Element | null)?.closest<HTMLElement>(".livedb-chart button");
    const column = columnAt(target);
    if (bar == null || column === null) return null;
    return [column, [...(bar.parentElement?.children ?? [])].indexOf(bar)];
  };

  const choose = ([column, at]: [number, number], from = at): void => {
    const [low, high] = [Math.min(at, from), Math.max(at, from)];
    const bars = drawn.get(column)?.bars ?? [];
    const first = bars[low]?.filter;
    const last = bars[high]?.filter;
    if (first == null || last == null) return;
    if (low === high || !first.includes("..<")) return filterBy(column, first);
    filterBy(column, rangeFilter(first.split("..<")[0] ?? "", last.split("..<")[1] ?? ""));
  };

  const onPress = (event: PointerEvent): void => {
    pressedAt = event.button === 0 ? placeOf(event.target) : null;
  };

  /** A click chooses a bar, a drag all bars that it went over. */
  const onRelease = (event: MouseEvent): void => {
    const place = placeOf(event.target);
    const from = pressedAt;
    pressedAt = null;
    if (place === null || from === null || from[0] !== place[0]) return;
    if (from[1] !== place[1]) choose(place, from[1]);
  };

  const onClick = (event: MouseEvent): void => {
    const column = columnAt(event.target);
    const isNulls = (event.target as Element | null)?.closest(".livedb-nulls") != null;
    if (isNulls && column !== null) return filterBy(column, "null");
    const place = placeOf(event.target);
    if (place !== null) choose(place);
  };

  const onKey = (event: KeyboardEvent): void => {
    event.stopPropagation(); // neither the table's keys nor the notebook's
    const buttons = [...((event.target as Element).closest("td")?.querySelectorAll("button") ?? [])];
    const at = buttons.indexOf(event.target as HTMLButtonElement);
    const moves: Record<string, () => void> = {
      ArrowRight: () => buttons[Math.min(at + 1, buttons.length - 1)]?.focus(),
      ArrowLeft: () => buttons[Math.max(at - 1, 0)]?.focus(),
      Home: () => buttons[0]?.focus(),
      End: () => buttons.at(-1)?.focus(),
      ArrowDown: leave,
      Escape: leave,
    };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    move();
  };

  /** In words which bar is under the pointer or has the focus. */
  const showHint = (event: Event): void => {
    const place = placeOf(event.target);
    const cell = (event.target as Element | null)?.closest("td");
    for (const each of row.querySelectorAll<HTMLElement>(".livedb-figures[data-hint]")) delete each.dataset["hint"];
    const figures = cell?.querySelector<HTMLElement>(".livedb-figures");
    const bar = place === null ? null : (event.target as Element).closest("button");
    if (figures != null && bar !== null && event.type !== "pointerout") figures.dataset["hint"] = bar.title;
  };

  const show = (isShown: boolean): void => {
    row.hidden = !isShown;
    toggle.setAttribute("aria-pressed", String(isShown));
    drawn.clear();
  };

  const toggle = button("summary", "What each column holds ( v )");
  toggle.setAttribute("aria-pressed", "false");
  toggle.addEventListener("click", () => {
    isDecided = true;
    show(row.hidden !== false);
    changed();
  }, { signal });

  row.addEventListener("pointerdown", onPress, { signal });
  row.addEventListener("pointerup", onRelease, { signal });
  row.addEventListener("click", onClick, { signal });
  row.addEventListener("keydown", onKey, { signal });
  for (const type of ["pointerover", "pointerout", "focusin"]) row.addEventListener(type, showHint, { signal });

  return {
    row,
    toggle,
    rowPx: () => (row.hidden ? 0 : HEADS_PX),
    suggest: (isWorth) => {
      if (isWorth && row.hidden && !isDecided) show(true);
    },
    setColumns: (next) => {
      columns = next;
      line.fit([]);
    },
    fit: line.fit,
    draw,
    focus: (column) => {
      if (row.hidden) toggle.click();
      line.cellOf(column)?.querySelector<HTMLElement>(".livedb-chart button, .livedb-nulls")?.focus();
    },
  };
}

function emptyHead(column: Column | undefined): HTMLTableCellElement {
  const cell = document.createElement("td");
  cell.setAttribute("role", "gridcell");
  const figures = cell.appendChild(div("livedb-figures"));
  const type = figures.appendChild(document.createElement("span"));
  type.textContent = column === undefined ? "" : typeText(column, null);
  return cell;
}

function drawHead(cell: HTMLTableCellElement, column: Column, { profile, bars, said, isEnabled }: Drawn): void {
  const [figures, chart] = [cell.children[0] as HTMLElement, cell.children[1] ?? cell.appendChild(div("livedb-chart"))];
  setText(figures.firstElementChild as Element, typeText(column, profile));
  drawNulls(figures, profile, said, isEnabled);
  const words = profileText(column, profile);
  if (figures.title !== words) figures.title = words;
  const isHistogram = profile.edges !== null;
  (chart as HTMLElement).dataset["shape"] = isHistogram ? "histogram" : "values";
  chart.setAttribute("role", "group");
  chart.setAttribute("aria-label", `${labelOf(column)}: ${words}`);
  while (chart.children.length > bars.length) chart.lastElementChild?.remove();
  const most = Math.max(1, ...bars.map(({ count }) => count));
  const toldCount = bars.reduce((sum, { count }) => sum + count, 0);
  (chart as HTMLElement).style.width = isHistogram ? "" : `${(100 * toldCount) / Math.max(1, profile.count - profile.nulls)}%`;
  bars.forEach((bar, at) => {
    const button = (chart.children[at] ?? chart.appendChild(barButton())) as HTMLButtonElement;
    drawBar(button, bar, profile, isHistogram ? most : null, said !== null && isWithin(at, profile, said), isEnabled);
  });
}

function drawNulls(figures: HTMLElement, profile: Profile, said: string | null, isEnabled: boolean): void {
  const text = nullsText(profile);
  const known = figures.querySelector<HTMLButtonElement>(".livedb-nulls");
  if (text === "") return known?.remove();
  const nulls = known ?? figures.appendChild(barButton());
  nulls.className = "livedb-nulls";
  setText(nulls, text);
  nulls.disabled = !isEnabled;
  nulls.title = `null: ${profile.nulls.toLocaleString("en-US")} rows`;
  nulls.setAttribute("aria-pressed", String(said === "null"));
}

/** Whether a filter says this bar, or a range with it. */
function isWithin(at: number, { edges, values }: Profile, said: string): boolean {
  if (edges === null) return values?.[at]?.[1] === said;
  const [low = "", high = ""] = said.split("..<");
  return at >= edges.indexOf(low) && at < edges.indexOf(high) && edges.includes(low);
}

function drawBar(
  button: HTMLButtonElement,
  bar: Bar,
  profile: Profile,
  most: number | null,
  isPressed: boolean,
  isEnabled: boolean,
): void {
  const words = barText(bar, profile);
  if (button.title !== words) {
    button.title = words;
    button.setAttribute("aria-label", words);
  }
  button.setAttribute("aria-pressed", String(isPressed));
  button.disabled = !isEnabled || bar.filter === null;
  const { style } = button;
  if (most === null) {
    setText(button, bar.name);
    style.flexGrow = String(bar.count);
    style.setProperty("--all", "1");
    style.setProperty("--found", String(bar.count === 0 ? 0 : bar.found / bar.count));
  } else {
    setText(button, "");
    style.setProperty("--all", String(heightOf(bar.count, most)));
    style.setProperty("--found", String(heightOf(bar.found, most)));
  }
}

const heightOf = (count: number, most: number): number => (count === 0 ? 0 : Math.max(LEAST, count / most));

function barButton(): HTMLButtonElement {
  const element = button("");
  element.tabIndex = -1; // one stop of the Tab key for the table; `v` comes here
  return element;
}
