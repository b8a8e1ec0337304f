// The tables of one JavaScript world. A batch of updates rides on the comm of one table (see
// livedb/notebook/publisher.py) and is handed to the others here. Every model evaluates its own copy
// of this module, so the register is kept on globalThis, under a symbol that carries its version.

import type { Entry } from "./messages.js";

export type EntryListener = (entry: Entry, buffers: readonly DataView[]) => void;

interface Realm {
  id: string;
  tables: Map<string, Set<EntryListener>>;
  /** Who wants to know that elements came or went. */
  watchers: Set<() => void>;
  observer: MutationObserver | null;
  /** Modules that pages load once, by version (parts.ts). */
  parts: Map<string, Promise<unknown>>;
}

const REALM = Symbol.for("livedb.realm.3");

function realm(): Realm {
  const world = globalThis as { [REALM]?: Realm };
  return (world[REALM] ??= { id: randomName(), tables: new Map(), watchers: new Set(), observer: null, parts: new Map() });
}

/** The name of this JavaScript world in messages to the kernel. */
export const realmId = (): string => realm().id;

/** The modules that were loaded, or are being loaded. */
export const parts = (): Map<string, Promise<unknown>> => realm().parts;

/** Receive the entries addressed to a table until `signal` aborts. */
export function listen(address: string, listener: EntryListener, signal: AbortSignal): void {
  const { tables } = realm();
  const listeners = tables.get(address) ?? new Set();
  tables.set(address, listeners.add(listener));
  signal.addEventListener("abort", () => {
    listeners.delete(listener);
    if (listeners.size === 0 && tables.get(address) === listeners) tables.delete(address);
  });
}

/** Hand each entry of a batch to its table, with the buffers that are its own; one that fails stops no other. */
export function deliver(entries: readonly Entry[], buffers: readonly DataView[]): void {
  for (const entry of entries) {
    for (const listener of realm().tables.get(entry.address) ?? []) {
      try {
        listener(entry, buffers.slice(entry.buffers));
      } catch (error) {
        console.error("livedb: a table's update failed", error);
      }
    }
  }
}

/** Call `watcher` whenever elements came to the page or left it. One observer serves all tables. */
export function onDocumentChange(watcher: () => void, signal: AbortSignal): void {
  const world = realm();
  world.watchers.add(watcher);
  signal.addEventListener("abort", () => world.watchers.delete(watcher));
  if (world.observer !== null || typeof MutationObserver === "undefined") return;
  world.observer = new MutationObserver(() => {
    for (const each of world.watchers) each();
  });
  world.observer.observe(document.body, { childList: true, subtree: true });
}

/** A short random name; crypto.randomUUID does not exist on plain http pages. */
export function randomName(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), (word) => word.toString(36)).join("");
}
