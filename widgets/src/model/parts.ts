// A module that a page loads from the kernel when it has shown its first rows, once for all its tables.
// Every model carries a copy of the widget's own module; what not every look needs would be carried in vain.

import { parts } from "./realm.js";

/** ms that a table waits for what another one fetches; that one's kernel may be gone. */
const PATIENCE_MS = 2_000;

/** The module named by what it is made of; `fetch` gets its text from the kernel. */
export async function loadPart<T>(version: string, fetch: () => Promise<DataView | string>): Promise<T> {
  const known = parts().get(version);
  const shared = known === undefined ? null : await Promise.race([known.catch(() => null), later(PATIENCE_MS)]);
  if (shared !== null) return shared as T;
  const loading = fetch().then(importText);
  parts().set(version, loading);
  return loading as Promise<T>;
}

const later = (ms: number): Promise<null> => new Promise((resolve) => setTimeout(() => resolve(null), ms));

async function importText(text: DataView | string): Promise<unknown> {
  const url = URL.createObjectURL(new Blob([text as DataView<ArrayBuffer> | string], { type: "text/javascript" }));
  try {
    return await import(/* @vite-ignore */ url);
  } finally {
    URL.revokeObjectURL(url);
  }
}
