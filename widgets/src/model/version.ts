// Which commit a page shows, told to its kernel where that makes cells run again (marimo; see
// livedb/notebook/hosts.py).

import { listen } from "./realm.js";

/** Milliseconds between two tellings. */
const TELL_MS = 250;

/** What of `AnyModel` it needs. */
export interface ToldModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
}

export function tellVersion(model: ToldModel, signal: AbortSignal): void {
  if (model.get("tells_version") !== true) return;
  let newest = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tell = (): void => {
    timer = undefined;
    model.set("version", newest);
    model.save_changes();
  };
  listen(String(model.get("address")), ({ news }) => {
    if (news === null || news.number <= newest) return;
    newest = news.number;
    timer ??= setTimeout(tell, TELL_MS);
  }, signal);
  signal.addEventListener("abort", () => clearTimeout(timer));
}
