// Questions to the kernel and their answers, of widgets that ask now and then: a form, an explorer.

import { randomName } from "./realm.js";

/** What of `AnyModel` they need. */
export interface AskedModel {
  get(name: string): unknown;
  send(content: unknown): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
}

export type Answer = { [name: string]: unknown };

/** Whether the kernel keeps somebody waiting, or is gone. */
export type Standing = "" | "waiting" | "gone";

/** Milliseconds without an answer after which the page says that it waits. */
const WAITING_MS = 4_000;

export interface Asker {
  /** Rejects with what the kernel says failed. */
  ask(content: Answer): Promise<Answer>;
  /** Told when the kernel keeps somebody waiting, and when it is gone. */
  onStanding(hear: (standing: Standing) => void, signal: AbortSignal): void;
}

export function createAsker(model: AskedModel, signal: AbortSignal): Asker {
  const pending = new Map<string, { answer: (message: Answer) => void; timer: ReturnType<typeof setTimeout> }>();
  const hearers = new Set<(standing: Standing) => void>();
  let isGone = false;

  const tell = (standing: Standing): void => {
    isGone ||= standing === "gone";
    for (const hear of hearers) hear(isGone ? "gone" : standing);
  };

  const ask = (content: Answer): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const id = randomName();
      const timer = setTimeout(() => tell("waiting"), WAITING_MS);
      pending.set(id, {
        timer,
        answer: (message) => {
          clearTimeout(timer);
          if (message["kind"] === "begun") return tell(""); // the kernel has it; what was asked takes its time
          pending.delete(id);
          tell("");
          if (message["kind"] === "failed") reject(new Error(String(message["message"])));
          else resolve(message);
        },
      });
      try {
        model.send({ ...content, id });
      } catch {
        tell("gone");
      }
    });

  const receive = (message: unknown): void => {
    if (typeof message !== "object" || message === null) return;
    const answer = message as Answer;
    pending.get(String(answer["id"]))?.answer(answer);
  };
  const lose = (): void => tell("gone");
  model.on("msg:custom", receive);
  model.on("comm_live_update", lose); // JupyterLab says so at once when a kernel restarts
  signal.addEventListener("abort", () => {
    model.off("msg:custom", receive);
    model.off("comm_live_update", lose);
    for (const { timer } of pending.values()) clearTimeout(timer);
    tell("gone");
  });

  return {
    ask,
    onStanding: (hear, end) => {
      hearers.add(hear);
      end.addEventListener("abort", () => hearers.delete(hear));
      if (isGone) hear("gone");
    },
  };
}
