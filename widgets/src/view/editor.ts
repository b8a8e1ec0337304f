// Editing a cell in place. The text that is edited stands over its cell, outside of the table: whatever
// an update does to the rows, it stays as its reader has it, and goes where its row goes. What was typed
// stays over the cell until the row has come that holds it, or until the kernel has said why not.

import type { EditStep, Outcome } from "../model/messages.js";
import { randomName } from "../model/realm.js";
import { div, grouped, setText } from "./footer.js";

/** After the last key a reader waits so long, in ms, before the kernel judges what was typed. */
const TYPING_MS = 150;
/** ms after which a committed text gives way to what the table shows, whatever that is. */
const ARRIVAL_MS = 2_000;
const SAID_MS = 6_000;
const MESSAGE_CHARACTERS_MAX = 300;

export interface Place {
  /** The row's key. */
  key: string;
  column: number;
}

export interface EditorHost {
  /** The part of the page over which texts stand, and which scrolls with no row. */
  frame: HTMLElement;
  /** Where messages are read out. */
  said: HTMLElement;
  send: (step: EditStep) => Promise<Outcome>;
  cellOf: (place: Place) => HTMLElement | null;
  columnName: (column: number) => string;
  /** Commit number of what the table shows. */
  number: () => number;
  /** The table takes the focus back; `steps` columns further. */
  leave: (steps: number) => void;
}

export interface Editor {
  begin: (place: Place, text: string) => void;
  /** Empty a field: nothing stands there, or null. */
  clear: (place: Place) => void;
  undo: () => void;
  redo: () => void;
  /** Say something to the reader, for a while. */
  say: (text: string) => void;
  /** Put the texts over their cells; called whenever rows were drawn. */
  place: () => void;
}

interface Open {
  place: Place;
  name: string;
  element: HTMLElement;
  /** Whose text it is, said while its row is out of sight. */
  whose: HTMLElement;
  /** Number of the row where it was last in sight; 0 before. */
  row: number;
  input: HTMLTextAreaElement;
  message: HTMLElement;
  state: "opening" | "typing" | "sending" | "changed" | "sent";
  /** Of a text that was committed: shown until the table is at this commit. */
  number: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

const cut = (text: string): string =>
  text.length <= MESSAGE_CHARACTERS_MAX ? text : `${text.slice(0, MESSAGE_CHARACTERS_MAX - 1)}…`;

export function createEditor(host: EditorHost, signal: AbortSignal): Editor {
  const open = new Map<string, Open>();
  let saidTimer: ReturnType<typeof setTimeout> | undefined;

  const say = (text: string): void => {
    clearTimeout(saidTimer);
    setText(host.said, cut(text));
    host.said.hidden = text === "";
    if (text !== "") saidTimer = setTimeout(() => say(""), SAID_MS);
  };

  const close = (edit: Open): void => {
    clearTimeout(edit.timer);
    open.delete(edit.name);
    edit.element.remove();
    makeRoom();
  };

  const complain = (edit: Open, problem: string | null): void => {
    setText(edit.message, cut(problem ?? ""));
    edit.message.hidden = problem === null;
    edit.input.setAttribute("aria-invalid", String(problem !== null));
    makeRoom();
  };

  const begin: Editor["begin"] = (place, text) => {
    const known = [...open.values()].find((each) => each.place.key === place.key && each.place.column === place.column);
    if (known !== undefined) {
      if (known.state !== "sent") return known.input.focus();
      close(known);
    }
    const edit = make(place, text);
    const { name } = edit;
    host.send({ step: "open", edit: name, key: place.key, field: host.columnName(place.column) }).then((outcome) => {
      if (!open.has(name)) return;
      if (outcome.state !== "open") return refuse(edit, outcome);
      edit.state = "typing";
      edit.input.value = outcome.text;
      edit.input.readOnly = false;
      edit.input.select();
    });
  };

  /** It cannot be edited at all: say why, and give the keyboard back. */
  const refuse = (edit: Open, outcome: Outcome): void => {
    close(edit);
    say(outcome.problem ?? "This row is gone.");
    host.leave(0);
  };

  const make = (place: Place, text: string): Open => {
    const element = div("livedb-edit");
    element.dataset["lmSuppressShortcuts"] = "true"; // JupyterLab: what is typed here is no command
    const whose = element.appendChild(div("livedb-whose"));
    const input = element.appendChild(document.createElement("textarea"));
    const message = element.appendChild(div("livedb-problem"));
    const name = randomName();
    message.id = `livedb-${name}`;
    message.hidden = true;
    message.setAttribute("role", "alert");
    input.rows = 1;
    input.value = text;
    input.readOnly = true; // until the kernel has said what stands there
    input.spellcheck = false;
    input.setAttribute("aria-label", `edit ${host.columnName(place.column)}`);
    input.setAttribute("aria-describedby", message.id);
    const edit: Open = { place, name, element, whose, row: 0, input, message, state: "opening", number: -1, timer: undefined };
    open.set(name, edit);
    input.addEventListener("input", () => {
      makeRoom(); // it grows with its text
      checkSoon(edit);
    }, { signal });
    input.addEventListener("keydown", (event) => onKey(edit, event), { signal });
    input.addEventListener("blur", () => onBlur(edit), { signal });
    host.frame.append(element);
    placeOne(edit);
    makeRoom();
    input.focus({ preventScroll: true });
    return edit;
  };

  const checkSoon = (edit: Open): void => {
    clearTimeout(edit.timer);
    edit.timer = setTimeout(() => {
      const { value } = edit.input;
      host.send({ step: "check", edit: edit.name, text: value }).then(({ problem }) => {
        if (edit.state === "typing" && edit.input.value === value) complain(edit, problem);
      });
    }, TYPING_MS);
  };

  const onKey = (edit: Open, event: KeyboardEvent): void => {
    event.stopPropagation(); // neither the table's keys nor the notebook's
    if (event.isComposing) return;
    if (event.key === "Escape") cancel(edit);
    else if (event.key === "Enter" && !event.shiftKey) commit(edit, 0);
    else if (event.key === "Tab") commit(edit, event.shiftKey ? -1 : 1);
    else return;
    event.preventDefault();
  };

  /** Who goes elsewhere means what was typed; what cannot be committed stays open. */
  const onBlur = (edit: Open): void => {
    if (edit.state === "typing" && edit.element.isConnected && document.hasFocus()) commit(edit, null);
  };

  const cancel = (edit: Open): void => {
    host.send({ step: "cancel", edit: edit.name });
    close(edit);
    host.leave(0);
  };

  /** `steps`: where the focus goes at once, null for where it is. */
  const commit = (edit: Open, steps: number | null): void => {
    if (edit.state !== "typing" && edit.state !== "changed") return;
    const overwrites = edit.state === "changed";
    clearTimeout(edit.timer);
    edit.state = "sending";
    edit.input.readOnly = true;
    edit.element.classList.add("livedb-sending");
    if (steps !== null) host.leave(steps);
    const { value } = edit.input;
    host.send({ step: "commit", edit: edit.name, text: value, clears: false, overwrites }).then((outcome) => {
      if (open.has(edit.name)) settle(edit, outcome);
    });
  };

  const settle = (edit: Open, outcome: Outcome): void => {
    edit.element.classList.remove("livedb-sending");
    if (outcome.state === "done") {
      edit.state = "sent";
      edit.number = outcome.number;
      edit.timer = setTimeout(() => close(edit), ARRIVAL_MS);
      return placeAll();
    }
    if (outcome.state === "gone") return refuse(edit, outcome);
    edit.state = outcome.state === "changed" ? "changed" : "typing";
    edit.input.readOnly = false;
    const advice = outcome.state === "changed" ? "Enter: write yours over it. Escape: keep it. " : "";
    complain(edit, `${advice}${outcome.problem ?? "It was not written."}`);
    edit.input.focus({ preventScroll: true });
  };

  const clear: Editor["clear"] = async ({ key, column }) => {
    const edit = randomName();
    const opened = await host.send({ step: "open", edit, key, field: host.columnName(column) });
    if (opened.state !== "open") return say(opened.problem ?? "This row is gone.");
    const outcome = await host.send({ step: "commit", edit, text: "", clears: true, overwrites: false });
    if (outcome.state !== "done") {
      host.send({ step: "cancel", edit });
      say(outcome.problem ?? "It was not written.");
    }
  };

  const turn = async (step: "undo" | "redo", done: string): Promise<void> => {
    const outcome = await host.send({ step });
    if (outcome.state === "done") say(`${done} ${outcome.field === null ? outcome.text : `the change of ${outcome.field}`}.`);
    else say(`${outcome.problem ?? "It could not be taken back."}`);
  };

  const placeOne = (edit: Open): void => {
    const cell = host.cellOf(edit.place);
    const { element } = edit;
    const isAway = cell === null; // its row is out of sight: its text stays, under the rows
    element.classList.toggle("livedb-away", isAway);
    edit.whose.hidden = !isAway;
    if (isAway) {
      for (const name of ["left", "top", "min-width", "min-height", "--livedb-room"]) element.style.removeProperty(name);
      const row = edit.row === 0 ? "a row" : `row ${grouped(edit.row)}`;
      return setText(edit.whose, `${host.columnName(edit.place.column)} of ${row}, out of sight`);
    }
    edit.row = Number(cell.closest("tr")?.getAttribute("aria-rowindex") ?? 1) - 1;
    const around = host.frame.getBoundingClientRect();
    const at = cell.getBoundingClientRect();
    element.style.left = `${at.left - around.left}px`;
    element.style.top = `${at.top - around.top}px`;
    element.style.minWidth = `${at.width}px`;
    element.style.minHeight = `${at.height}px`;
    // What is said of it stands where there is more room: beside the frame it would be cut off.
    const [before, behind] = [at.right - around.left, around.right - at.left];
    element.classList.toggle("livedb-leftward", before > behind);
    element.style.setProperty("--livedb-room", `${Math.max(before, behind)}px`);
  };

  /** The frame is cut off at its edge, so it grows by what an edit and its message need below the rows. */
  const makeRoom = (): void => {
    const { frame } = host;
    const over = [...open.values()].filter(({ element }) => !element.classList.contains("livedb-away"));
    const shown = over.flatMap(({ input, message }) => (message.hidden ? [input] : [input, message]));
    const bottoms = shown.map((each) => each.getBoundingClientRect().bottom);
    const content = frame.getBoundingClientRect().bottom - (parseFloat(frame.style.paddingBottom) || 0);
    const px = Math.ceil(Math.max(0, ...bottoms.map((bottom) => bottom - content)));
    frame.style.paddingBottom = px === 0 ? "" : `${px}px`;
  };

  const placeAll = (): void => {
    if (open.size === 0) return;
    for (const edit of open.values()) {
      if (edit.state === "sent" && host.number() >= edit.number) close(edit);
      else placeOne(edit);
    }
    makeRoom();
  };

  signal.addEventListener("abort", () => {
    clearTimeout(saidTimer);
    for (const edit of [...open.values()]) close(edit);
  });

  return {
    begin,
    clear,
    say,
    undo: () => void turn("undo", "Took back"),
    redo: () => void turn("redo", "Did again"),
    place: placeAll,
  };
}
