// @vitest-environment happy-dom
import { expect, test } from "vitest";
import widget from "../src/entry/widget.js";
import { parts } from "../src/model/realm.js";

test("models with the same module have it from one import, and a widget each", async () => {
  let made = 0;
  const drawn: number[] = [];
  const module = {
    default: () => {
      made += 1;
      const own = made;
      return { initialize: () => {}, render: () => drawn.push(own) };
    },
  };
  parts().set("its text", Promise.resolve(module));
  const { signal } = new AbortController();
  const model = { get: () => "its text" };
  for (const { initialize, render } of [widget(), widget()]) {
    await initialize({ model, signal } as never);
    await render({ model, signal } as never);
  }
  expect(drawn).toEqual([1, 2]);
});
