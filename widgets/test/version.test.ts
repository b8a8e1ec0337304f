import { expect, test, vi } from "vitest";
import type { Entry, News } from "../src/model/messages.js";
import { deliver } from "../src/model/realm.js";
import { tellVersion } from "../src/model/version.js";
import { scene } from "./scene.js";

const signal = scene();

function told(tells: boolean): number[] {
  const traits: Record<string, unknown> = { address: "v1", tells_version: tells };
  const saved: number[] = [];
  tellVersion({
    get: (name) => traits[name],
    set: (name, value) => void (traits[name] = value),
    save_changes: () => void saved.push(traits["version"] as number),
  }, signal());
  return saved;
}

function arrive(number: number): void {
  const entry = { address: "v1", sequence: 1, news: { number } as News, head: null, patches: [], buffers: 0 } satisfies Entry;
  deliver([entry], []);
}

test("the newest commit is told once for many that came together", () => {
  const saved = told(true);
  for (const number of [3, 4, 5]) arrive(number);
  vi.advanceTimersByTime(300);
  arrive(5);
  arrive(6);
  vi.advanceTimersByTime(300);
  expect(saved).toEqual([5, 6]);
});

test("nothing is told where nobody asks", () => {
  const saved = told(false);
  arrive(3);
  vi.advanceTimersByTime(300);
  expect(saved).toEqual([]);
});
