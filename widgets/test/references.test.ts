// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { mount, stateOf } from "./fakes.js";

const ID = "j57abcdefghjkmnpqrstv0123456789x";
const EVIL = "<img src=x onerror=alert(1)>";
const settled = () => new Promise((resolve) => setTimeout(resolve, 60));

async function shown() {
  const { model, el } = mount({}, stateOf(0, 1), [ID], [1]);
  await settled();
  const answer = async (content: Record<string, unknown>) => {
    model.emit("msg:custom", { kind: "reference", id: model.last("reference").id, ...content }, []);
    await settled();
  };
  const panel = () => el.querySelector<HTMLElement>(".livedb-places[aria-label^=document]");
  return { model, el, answer, panel };
}

test("a click on an id shows its document as text, and ids in it lead on and back", async () => {
  const { model, el, answer, panel } = await shown();
  el.querySelector("td[data-kind=id]")?.dispatchEvent(new MouseEvent("mousedown", { bubbles: true }));
  el.querySelector<HTMLElement>("td[data-kind=id] span")?.click();
  expect(model.last("reference").key).toBe(ID);
  await answer({ table: "tasks", fields: [["_id", ID, true], [EVIL, EVIL, false], ["user", "u", true]] });
  expect(panel()?.hidden).toBe(false);
  expect(panel()?.querySelector("img")).toBeNull();
  expect(panel()?.textContent).toContain(EVIL);
  const button = (text: string) => [...(panel()?.querySelectorAll("button") ?? [])].find((each) => each.textContent === text);
  expect(button("back")?.hidden).toBe(true);
  button("u")?.click();
  expect(model.last("reference").key).toBe("u");
  await answer({ table: "users", fields: null });
  expect(panel()?.textContent).toContain("This document is not there");
  button("back")?.click();
  expect(model.last("reference").key).toBe(ID);
  await answer({ table: "tasks", fields: [] });
  panel()?.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true, cancelable: true }));
  expect(panel()?.hidden).toBe(true);
  expect(document.activeElement?.getAttribute("role")).toBe("grid");
});
