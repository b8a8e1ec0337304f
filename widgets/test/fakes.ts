// A model as a host gives it, and a kernel's side of the wire that a test can hold back or lose.

import { tableFromArrays, tableToIPC } from "@uwdata/flechette";
import type { Outgoing } from "../src/model/messages.js";
import type { Model } from "../src/model/store.js";

type Callback = (...args: never[]) => void;

export class FakeModel implements Model {
  readonly sent: Outgoing[] = [];
  readonly listeners = new Map<string, Set<Callback>>();

  constructor(readonly traits: Record<string, unknown>) {}

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
    sequence, title: "t()", number: sequence + 1, row_count: rowCount, columns: COLUMNS, error: null, shape: "rows",
  };
}
