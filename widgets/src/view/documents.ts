// Documents of a table are added, from a panel with a text for each field, and deleted. What a text
// means, and whether it will do, is said by the kernel alone.

import type { Outcome } from "../model/messages.js";
import type { Grid } from "./desk.js";
import { button, div, setText } from "./footer.js";
import { createPanel } from "./panel.js";

/** As in livedb/notebook/profiling.py. */
const FIELDS_MAX = 64;

/** After the last key a reader waits so long, in ms, before the kernel judges what was typed. */
const TYPING_MS = 150;

export interface Documents {
  add: HTMLButtonElement;
  remove: HTMLButtonElement;
  panel: HTMLElement;
  draw: (isEnabled: boolean) => void;
  /** For columns that changed. */
  setColumns: () => void;
  showAdd: () => void;
  showRemove: () => void;
}

export function createDocuments(
  grid: Grid,
  selected: () => ReadonlySet<string>,
  clear: () => void,
  say: (text: string) => void,
): Documents {
  const { store, signal } = grid;
  const add = button("add", "Add a row ( a )");
  const remove = button("delete", "Delete the selected rows ( Delete )");
  const panel = createPanel("rows", () => close(), signal);
  const problem = div("livedb-panel-problem");
  /** What writes; nothing does while the kernel is gone. */
  let write: HTMLButtonElement | null = null;
  let isAnswered = true;
  let shown: "add" | "remove" | null = null;
  const timers = new Map<Element, ReturnType<typeof setTimeout>>();
  /** What will not do, by field. */
  const problems = new Map<string, string>();
  problem.setAttribute("role", "alert");

  const show = (next: "add" | "remove" | null): void => {
    shown = next;
    panel.hidden = next === null;
    add.setAttribute("aria-expanded", String(next === "add"));
    remove.setAttribute("aria-expanded", String(next === "remove"));
    problems.clear();
    complain();
    panel.replaceChildren(...(next === null ? [] : next === "add" ? entries() : question()));
    panel.querySelector<HTMLElement>("textarea, button")?.focus();
  };

  const close = (): void => {
    show(null);
    grid.focus();
  };

  /** Fields that a person fills in; `x__json` shows what of `x` has no column. */
  const fields = (): string[] => {
    const names = grid.columns().map(({ name }) => name);
    const isShadow = (name: string): boolean => name.endsWith("__json") && names.includes(name.slice(0, -"__json".length));
    return names.filter((name) => !name.startsWith("_") && !isShadow(name)).slice(0, FIELDS_MAX);
  };

  const entries = (): HTMLElement[] => {
    panel.setAttribute("aria-label", "a new row");
    const list = div("livedb-places-list");
    list.append(...fields().map((name) => {
      const label = document.createElement("label");
      const text = document.createElement("textarea");
      text.rows = 1;
      text.spellcheck = false;
      text.dataset["field"] = name;
      label.append(name, text);
      return label;
    }));
    const insert = button("insert");
    insert.addEventListener("click", () => void commit(), { signal });
    insert.disabled = !isAnswered;
    write = insert;
    return [list, insert, cancel(), problem];
  };

  const question = (): HTMLElement[] => {
    panel.setAttribute("aria-label", "delete rows");
    const keys = [...selected()];
    const rows = `${keys.length.toLocaleString("en-US")} row${keys.length === 1 ? "" : "s"}`;
    const really = button(`delete ${rows}`);
    really.addEventListener("click", () => void erase(keys), { signal });
    really.disabled = !isAnswered;
    write = really;
    return [really, cancel(), problem];
  };

  const cancel = (): HTMLElement => {
    const element = button("cancel");
    element.addEventListener("click", close, { signal });
    return element;
  };

  const texts = (): HTMLTextAreaElement[] => [...panel.querySelectorAll("textarea")];

  const fieldOf = (text: HTMLTextAreaElement): string => text.dataset["field"] ?? "";

  const complain = (): void => {
    setText(problem, [...problems.values()].join("\n"));
    for (const text of texts()) text.setAttribute("aria-invalid", String(problems.has(fieldOf(text))));
  };

  const refuse = ({ problem: why, field }: Outcome): void => {
    problems.set(field ?? "", why ?? "It was not written.");
    complain();
    texts().find((text) => fieldOf(text) === field)?.focus();
  };

  const commit = async (): Promise<void> => {
    if (panel.ariaBusy === "true" || !isAnswered) return;
    panel.ariaBusy = "true";
    problems.clear();
    const typed = Object.fromEntries(texts().map((text) => [fieldOf(text), text.value]));
    const outcome = await store.edit({ step: "insert", texts: typed });
    panel.ariaBusy = "false";
    if (shown !== "add") return;
    if (outcome.state !== "done") return refuse(outcome);
    say("Added a row.");
    show("add"); // for the next one
  };

  const erase = async (keys: readonly string[]): Promise<void> => {
    if (panel.ariaBusy === "true") return;
    panel.ariaBusy = "true";
    const outcome = await store.edit({ step: "delete", keys });
    panel.ariaBusy = "false";
    if (outcome.state !== "done") return refuse(outcome);
    clear();
    close();
    say(`Deleted ${outcome.text} row${outcome.text === "1" ? "" : "s"}.`);
  };

  const judgeSoon = (text: HTMLTextAreaElement): void => {
    clearTimeout(timers.get(text));
    timers.set(text, setTimeout(() => void judge(text), TYPING_MS));
  };

  const judge = async (text: HTMLTextAreaElement): Promise<void> => {
    const [field, { value }] = [fieldOf(text), text];
    const found = value === "" ? null : await store.edit({ step: "judge", field, text: value });
    if (text.value !== value || !text.isConnected) return;
    if (found?.problem == null) problems.delete(field);
    else problems.set(field, `${field}: ${found.problem}`);
    complain();
  };

  panel.addEventListener("input", (event) => judgeSoon(event.target as HTMLTextAreaElement), { signal });
  panel.addEventListener("keydown", (event) => {
    const isText = (event.target as Element).tagName === "TEXTAREA";
    if (event.key !== "Enter" || !isText || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void commit();
  }, { signal });
  add.addEventListener("click", () => show(shown === "add" ? null : "add"), { signal });
  remove.addEventListener("click", () => show(shown === "remove" ? null : "remove"), { signal });
  signal.addEventListener("abort", () => {
    for (const each of timers.values()) clearTimeout(each);
  });

  return {
    add,
    remove,
    panel,
    draw: (isEnabled) => {
      isAnswered = isEnabled;
      for (const each of [add, remove, write]) if (each !== null) each.disabled = !isEnabled;
      const isEditable = store.isEditable() && store.state()?.shape === "rows";
      add.hidden = !isEditable;
      remove.hidden = !isEditable || selected().size === 0;
      if (shown === "remove" && remove.hidden) show(null);
    },
    setColumns: () => {
      if (shown === "add" && texts().every(({ value }) => value === "")) show("add");
    },
    showAdd: () => show("add"),
    showRemove: () => show("remove"),
  };
}
