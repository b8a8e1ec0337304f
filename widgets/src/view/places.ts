// Where a table stands on a page. A cell's output is plain HTML, the rows as they were when the cell
// ran (livedb/notebook/display.py); the live table finds it by its class and takes its place. So a page
// without the kernel that made the output shows these rows, where a widget view would say "model not
// found", and a page that finds the kernel again comes to life without a word from the host.

import { onDocumentChange } from "../model/realm.js";

/** How long a place may be off the page, as a notebook's windowing has it, until its table is dropped. */
const GONE_MS = 10_000;

interface Place {
  root: HTMLElement;
  end: AbortController;
  goneMs: number | null;
}

/** Keep a table in every place on the page that is meant for `address`, until `signal` aborts. */
export function keepInPlaces(
  address: string,
  draw: (root: HTMLElement, signal: AbortSignal) => void,
  signal: AbortSignal,
): void {
  const found = document.getElementsByClassName(`livedb-at-${address}`);
  const places = new Map<Element, Place>();

  const look = (): void => {
    for (const element of found) if (!places.has(element)) places.set(element, settle(element, draw));
    for (const [element, place] of places) {
      if (element.isConnected) place.goneMs = null;
      else if (place.goneMs === null) leaveLater(element, place);
    }
  };

  const leaveLater = (element: Element, place: Place): void => {
    place.goneMs = performance.now();
    setTimeout(() => {
      if (place.goneMs === null || performance.now() - place.goneMs < GONE_MS - 1) return;
      places.delete(element);
      place.end.abort();
      place.root.remove();
      showStored(element, true);
    }, GONE_MS);
  };

  onDocumentChange(look, signal);
  look();
}

function settle(element: Element, draw: (root: HTMLElement, signal: AbortSignal) => void): Place {
  // What a model drew that is no more: of one name there is one at a time (a developer's reload).
  for (const old of element.querySelectorAll(":scope > .livedb-drawn")) old.remove();
  const root = element.appendChild(document.createElement("div"));
  root.classList.add("livedb-drawn");
  const end = new AbortController();
  draw(root, end.signal);
  showStored(element, false);
  return { root, end, goneMs: null };
}

function showStored(element: Element, isShown: boolean): void {
  for (const stored of element.getElementsByClassName("livedb-stored")) (stored as HTMLElement).hidden = !isShown;
}
