// The tables of one JavaScript world. A batch of updates rides on the comm of one table (see
// livedb/notebook/publisher.py) and is handed to the others here. Every model evaluates its own copy
// of this module, so the register is kept on globalThis, under a symbol that carries its version.

import type { Entry } from "./messages.js";

export type EntryListener = (entry: Entry, buffers: readonly DataView[]) => void;

interface Realm {
  id: string;
  tables: Map<string, Set<EntryListener>>;
}

const REALM = Symbol.for("livedb.realm.1");

function realm(): Realm {
  const world = globalThis as { [REALM]?: Realm };
  return (world[REALM] ??= { id: randomName(), tables: new Map() });
}

/** The name of this JavaScript world in messages to the kernel. */
export const realmId = (): string => realm().id;

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

/** Hand each entry of a batch to its table, with the buffers that are its own. */
export function deliver(entries: readonly Entry[], buffers: readonly DataView[]): void {
  for (const entry of entries) {
    for (const listener of realm().tables.get(entry.address) ?? []) {
      listener(entry, buffers.slice(entry.buffers));
    }
  }
}

/** A short random name; crypto.randomUUID does not exist on plain http pages. */
export function randomName(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), (word) => word.toString(36)).join("");
}
