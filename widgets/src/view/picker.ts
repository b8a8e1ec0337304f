// A field for the id of a document: a combobox that asks the kernel for documents by what people call
// them, and shows the one chosen as a chip. (WAI-ARIA combobox with a listbox.)

import { randomName } from "../model/realm.js";
import { type Around, button, type Control, element, leaf } from "./fields.js";

const PAUSE_MS = 120;

export function createPicker(table: string, id: string, around: Around): Control {
  const input = document.createElement("input");
  const list = element("div", "livedb-options");
  const chip = element("span", "livedb-chip");
  const name = chip.appendChild(element("span", "livedb-chip-name"));
  const tail = chip.appendChild(element("span", "livedb-chip-id"));
  const clear = chip.appendChild(button("×"));
  const line = element("div", "livedb-picker");
  let chosen = id;
  let found: [id: string, label: string][] = [];
  let active = -1;
  let asked = 0;
  /** What the list was searched for; Enter chooses nothing of an older search. */
  let listed = "";
  let timer: ReturnType<typeof setTimeout> | undefined;

  list.id = `livedb-${randomName()}`;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", `documents of ${table}`);
  input.placeholder = `search ${table}`;
  input.autocomplete = "off";
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);
  line.append(chip, input, list);
  const control = leaf(input, [line], () => chosen || input.value.trim(), around);

  const showChosen = (label: string): void => {
    const isChosen = chosen !== "";
    chip.hidden = !isChosen;
    input.hidden = isChosen;
    name.textContent = label === "" ? chosen : label;
    tail.textContent = label === "" ? "" : `…${chosen.slice(-6)}`;
    chip.title = chosen;
    clear.setAttribute("aria-label", `change ${name.textContent}`);
  };

  const open = (isOpen: boolean): void => {
    list.hidden = !isOpen;
    input.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) setActive(-1);
  };

  const setActive = (at: number): void => {
    active = at;
    [...list.querySelectorAll("[role=option]")].forEach((each, position) => {
      each.setAttribute("aria-selected", String(position === at));
      if (position !== at) return;
      input.setAttribute("aria-activedescendant", each.id);
      (each as HTMLElement).scrollIntoView?.({ block: "nearest" });
    });
    if (at < 0) input.removeAttribute("aria-activedescendant");
  };

  const choose = (at: number): void => {
    const row = found[at];
    if (row === undefined) return;
    chosen = row[0];
    input.value = "";
    showChosen(row[1]);
    open(false);
    line.dispatchEvent(new Event("input", { bubbles: true }));
    clear.focus();
  };

  const draw = (isMore: boolean): void => {
    list.replaceChildren(
      ...found.map(([each, label], at) => {
        const row = element("div", "livedb-option");
        row.id = `${list.id}-${at}`;
        row.setAttribute("role", "option");
        row.append(element("span", "livedb-chip-name", label || each));
        if (label !== "") row.append(element("span", "livedb-chip-id", `…${each.slice(-6)}`));
        row.addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the focus here
        row.addEventListener("click", () => choose(at));
        return row;
      }),
    );
    const advice = found.length === 0 ? `nothing found in ${table}` : isMore ? "more: type on" : "";
    if (advice !== "") list.append(element("div", "livedb-aside", advice));
    open(true);
    setActive(found.length > 0 ? 0 : -1);
  };

  const search = async (): Promise<void> => {
    const turn = ++asked;
    const text = input.value.trim();
    const answer = await around.calls.pick(table, text).catch(() => null);
    if (answer === null || turn !== asked || !isFocused()) return;
    found = answer.found;
    listed = text;
    draw(answer.more);
  };
  const isFocused = (): boolean => (input.getRootNode() as Document | ShadowRoot).activeElement === input;

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => void search(), PAUSE_MS);
  });
  input.addEventListener("focus", () => void search());
  input.addEventListener("blur", () => open(false));
  input.addEventListener("keydown", (event) => {
    const isOpen = !list.hidden;
    if (event.key === "ArrowDown" && !isOpen) void search();
    else if (event.key === "ArrowDown") setActive(Math.min(active + 1, found.length - 1));
    else if (event.key === "ArrowUp" && isOpen) setActive(Math.max(active - 1, 0));
    else if (event.key === "Enter" && isOpen && active >= 0) {
      if (listed === input.value.trim()) choose(active);
    }
    else if (event.key === "Escape" && isOpen) open(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  clear.addEventListener("click", () => {
    chosen = "";
    showChosen("");
    line.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
  });

  open(false);
  showChosen("");
  if (id !== "") {
    void around.calls.pick(table, id).then(
      (answer) => showChosen(answer.found.find(([each]) => each === chosen)?.[1] ?? ""),
      () => undefined,
    );
  }
  return { ...control, focus: () => (chosen === "" ? input : clear).focus() };
}
