// A model whose kernel answers when the test says.

import { vi } from "vitest";

export type Sent = { id: string; kind: string; drafts?: unknown; text?: string };
type Callback = (...args: never[]) => void;

export class Kernel {
  readonly sent: Sent[] = [];
  readonly listeners = new Map<string, Callback[]>();
  constructor(readonly traits: Record<string, unknown>) {}
  get = (name: string): unknown => this.traits[name];
  send = (content: Sent): void => void this.sent.push(content);
  on = (event: string, callback: Callback): void => void this.listeners.set(event, [...(this.listeners.get(event) ?? []), callback]);
  off = (): void => undefined;
  emit(event: string, ...args: unknown[]): void {
    for (const each of this.listeners.get(event) ?? []) each(...(args as never[]));
  }
  last(kind: string): Sent {
    const found = this.sent.findLast((each) => each.kind === kind);
    if (found === undefined) throw new Error(`no ${kind} was sent`);
    return found;
  }
  async answer(kind: string, content: Record<string, unknown>): Promise<void> {
    this.emit("msg:custom", { id: this.last(kind).id, ...content }, []);
    await vi.advanceTimersByTimeAsync(1);
  }
}
