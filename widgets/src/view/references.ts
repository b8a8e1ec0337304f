// The document that an id names, in a panel over the rows; ids in it lead on, and back again.

import type { Grid } from "./desk.js";
import { button, div } from "./footer.js";
import { createPanel } from "./panel.js";
import { saveFile } from "./save.js";

/** The table of documents of files. */
const FILES = "_storage";

export interface References {
  panel: HTMLElement;
  /** Show the document with this id. */
  open: (key: string) => void;
}

export function createReferences(grid: Grid, say: (text: string) => void): References {
  const { store, signal } = grid;
  const panel = createPanel("document", () => close(), signal);
  /** Ids that led here. */
  let path: string[] = [];
  let asked = 0;
  panel.tabIndex = -1;

  const close = (): void => {
    panel.hidden = true;
    path = [];
    grid.focus();
  };

  const show = async (key: string): Promise<void> => {
    asked += 1;
    const mine = asked;
    const found = await store.reference(key);
    if (mine !== asked) return; // another one was asked for
    const title = document.createElement("b");
    title.textContent = found?.table == null ? "a document of no table here" : found.table;
    const id = document.createElement("code");
    id.textContent = key;
    const list = div("livedb-places-list");
    if (found?.fields == null) list.append(found === null ? "The kernel does not answer." : "This document is not there (any more).");
    for (const [name, text, isId] of found?.fields ?? []) list.append(field(name, text, isId && name !== "_id"));
    const save = button("download");
    save.hidden = found?.table !== FILES || found.fields === null;
    save.addEventListener("click", () => void download(key), { signal });
    if (!save.hidden) preview(key, list);
    const back = button("back");
    back.hidden = path.length < 2;
    back.addEventListener("click", () => {
      path.pop();
      void show(path.at(-1) ?? key);
    }, { signal });
    const end = button("close");
    end.addEventListener("click", close, { signal });
    panel.setAttribute("aria-label", `document ${key}`);
    panel.replaceChildren(title, " ", id, " ", back, save, end, list);
    panel.hidden = false;
    panel.focus({ preventScroll: true });
  };

  const download = async (key: string): Promise<void> => {
    if (panel.ariaBusy === "true") return;
    panel.ariaBusy = "true"; // a button that is disabled loses the focus
    try {
      const file = await store.stored(key, "file");
      saveFile(file);
      say(`Wrote ${file.name}.`);
    } catch (error) {
      say(String((error as Error).message));
    }
    panel.ariaBusy = "false";
  };

  /** The picture that a file is; nothing for any other. */
  const preview = (key: string, list: HTMLElement): void => {
    void store.stored(key, "picture").then((file) => {
      const image = document.createElement("img");
      image.alt = `picture ${key}`;
      image.src = URL.createObjectURL(file);
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      list.append(image);
    }, () => {});
  };

  const field = (name: string, text: string, leadsOn: boolean): HTMLElement => {
    const line = document.createElement("div");
    const said = line.appendChild(document.createElement("span"));
    said.textContent = name;
    const value = line.appendChild(leadsOn ? button(text) : div("livedb-value"));
    value.textContent = text;
    if (leadsOn) value.addEventListener("click", () => open(text), { signal });
    return line;
  };

  const open: References["open"] = (key) => {
    path.push(key);
    void show(key);
  };

  return {
    panel,
    open: (key) => {
      path = [];
      open(key);
    },
  };
}
