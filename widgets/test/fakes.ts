// A model as a host gives it, and a kernel's side of the wire that a test can hold back or lose.

import { onTestFinished } from "vitest";
import { tableFromArrays, tableToIPC } from "@uwdata/flechette";
import type { Outgoing } from "../src/model/messages.js";
import widget from "../src/entry/table.js";
import { parts } from "../src/model/realm.js";
import type { Model } from "../src/model/store.js";

// What a page loads for its tables (src/model/parts.ts), as if a kernel had sent it.
parts().set("test", Promise.resolve(await import("../src/entry/desk.js")));

type Callback = (...args: never[]) => void;

export class FakeModel implements Model {
  readonly sent: Outgoing[] = [];
  readonly listeners = new Map<string, Set<Callback>>();

  readonly traits: Record<string, unknown>;

  constructor(traits: Record<string, unknown>) {
    this.traits = { desk: "test", ...traits };
  }

  get(name: string): unknown {
    return this.traits[name];
  }
  send(content: Outgoing): void {
    this.sent.push(content);
  }
  on(event: string, callback: Callback): void {
    this.listeners.set(event, (this.listeners.get(event) ?? new Set()).add(callback));
  }
  off(event: string, callback: Callback): void {
    this.listeners.get(event)?.delete(callback);
  }
  emit(event: string, ...args: unknown[]): void {
    for (const callback of this.listeners.get(event) ?? []) callback(...(args as never[]));
  }
  last<K extends Outgoing["kind"]>(kind: K): Extract<Outgoing, { kind: K }> {
    const found = this.sent.findLast((message) => message.kind === kind);
    if (found === undefined) throw new Error(`no ${kind} was sent`);
    return found as Extract<Outgoing, { kind: K }>;
  }
}

/** Rows (key, n) as the kernel encodes them. */
export function arrow(keys: readonly string[], values: readonly number[]): DataView {
  const bytes = tableToIPC(tableFromArrays({ "0": [...keys], "1": [...values] }), {});
  if (bytes === null) throw new Error("no bytes");
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export const COLUMNS = [["_id", "id"], ["n", "float"]];

export function stateOf(sequence: number, rowCount: number): Record<string, unknown> {
  return {
    sequence, head: 1, title: "t()", number: sequence + 1, row_count: rowCount, columns: COLUMNS, error: null, shape: "rows",
  };
}

type Mounted = { model: FakeModel; el: HTMLElement };

/** A table on the page that the kernel has answered: these rows, and what `state` says of them; gone after the test. */
export function mount(traits: Record<string, unknown>, state: Record<string, unknown>, keys: readonly string[], values: readonly number[]): Mounted {
  const { model, el } = place(traits);
  reply(model, state, keys, arrow(keys, values));
  return { model, el };
}

/** The same of a table whose columns have formats: it is drawn when their module is there. Without rows no answer comes. */
export async function mountFormatted(
  traits: Record<string, unknown>, state: Record<string, unknown>, keys: readonly string[], rows: DataView | null,
): Promise<Mounted> {
  const { model, el, drawn } = place(traits);
  await drawn;
  if (rows !== null) reply(model, state, keys, rows);
  return { model, el };
}

function place(traits: Record<string, unknown>): Mounted & { drawn: unknown } {
  const end = new AbortController();
  onTestFinished(() => {
    end.abort();
    document.body.replaceChildren();
  });
  const model = new FakeModel({ address: "dom", first_page: {}, ...traits });
  const { initialize, render } = widget();
  const el = document.body.appendChild(document.createElement("div"));
  const props = { model, el, signal: end.signal } as unknown as Parameters<typeof render>[0];
  initialize(props);
  return { model, el, drawn: render(props) };
}

/** Answer the newest request for rows. */
function reply(model: FakeModel, state: Record<string, unknown>, keys: readonly string[], rows: DataView): void {
  const { id } = model.last("rows");
  model.emit("msg:custom", { kind: "reply", id, ...state, start: 0, rows: keys.length, keys }, [rows]);
}
