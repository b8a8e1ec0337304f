// The fields of a form: one control for each kind, made by `createControl`. A control holds what was
// typed; it is read as a draft and shown what the kernel says of it, by path.

import type { Calls, Draft, Errors, Field, FieldNode } from "../model/form.js";
import { randomName } from "../model/realm.js";
import { createPicker } from "./picker.js";

export interface Control {
  element: HTMLElement;
  /** What a label names; null where the control has labels of its own inside. */
  input: HTMLElement | null;
  read(): Draft;
  /** Show what is wrong at `path` and below; everything, or what was touched. Adds what it showed. */
  show(path: string, errors: Errors, isAll: boolean, shown: Set<string>): void;
  focus(): void;
}

export interface Around {
  calls: Calls;
  /** Something was typed. */
  changed: () => void;
}

export function createControl(node: FieldNode, draft: Draft | undefined, around: Around): Control {
  switch (node.kind) {
    case "checkbox":
      return createCheckbox(draft === true, around);
    case "choice":
      return createChoice(node, draft, around);
    case "datetime":
      return createMoment(draft, around);
    case "id":
      return createPicker(node.table ?? "", typeof draft === "string" ? draft : "", around);
    case "list":
      return createList(node, Array.isArray(draft) ? draft : [], around);
    case "object":
      return createObject(node, draft, around);
    case "variant":
      return createVariant(node, draft, around);
    default:
      return createText(node, typeof draft === "string" ? draft : "", around);
  }
}

/** A control of one input, whose error stands under it. */
export function leaf(input: HTMLElement, parts: readonly HTMLElement[], read: () => Draft, around: Around): Control {
  const note = element("div", "livedb-wrong");
  note.id = `livedb-${randomName()}`;
  note.setAttribute("role", "alert");
  note.hidden = true;
  let isTouched = false;
  const whole = element("div", "livedb-control");
  whole.append(...parts, note);
  input.id ||= `livedb-${randomName()}`;
  whole.addEventListener("input", () => {
    isTouched = true;
    around.changed();
  });
  return {
    element: whole,
    input,
    read,
    show(path, errors, isAll, shown) {
      const message = isAll || isTouched ? (errors.get(path) ?? "") : "";
      if (errors.has(path)) shown.add(path);
      if (note.textContent !== message) note.textContent = message;
      note.hidden = message === "";
      input.setAttribute("aria-invalid", String(message !== ""));
      if (message === "") input.removeAttribute("aria-describedby");
      else input.setAttribute("aria-describedby", note.id);
    },
    focus: () => input.focus(),
  };
}

function createText(node: FieldNode, text: string, around: Around): Control {
  const isLong = node.long === true || node.kind === "json" || text.includes("\n");
  const input = document.createElement(isLong ? "textarea" : "input");
  input.value = text;
  input.autocomplete = "off";
  input.spellcheck = node.kind === "text";
  if (input instanceof HTMLTextAreaElement) input.rows = 3;
  if (node.kind === "integer") input.inputMode = "numeric";
  if (node.kind === "number") input.inputMode = "decimal";
  if (node.kind !== "text") input.classList.add("livedb-mono");
  if (node.kind === "json") input.placeholder = "JSON";
  return leaf(input, [input], () => input.value, around);
}

function createCheckbox(isOn: boolean, around: Around): Control {
  const input = document.createElement("input");
  input.type = "checkbox";
  input.checked = isOn;
  return leaf(input, [input], () => input.checked, around);
}

function createChoice(node: FieldNode, draft: Draft | undefined, around: Around): Control {
  const input = document.createElement("select");
  const chosen = typeof draft === "number" ? String(draft) : "";
  if (node.nullable || chosen === "") input.append(option("", node.nullable ? "none" : "choose …"));
  (node.options ?? []).forEach((text, at) => input.append(option(String(at), text === "" ? "(empty)" : text)));
  input.value = chosen;
  return leaf(input, [input], () => (input.value === "" ? null : Number(input.value)), around);
}

/** A date and time in the reader's zone; the draft says the instant. */
function createMoment(draft: Draft | undefined, around: Around): Control {
  const input = document.createElement("input");
  input.type = "datetime-local";
  input.step = "1";
  const given = typeof draft === "string" ? draft : "";
  const shown = given === "" ? "" : localText(new Date(given));
  input.value = shown;
  const zone = element("span", "livedb-aside", Intl.DateTimeFormat().resolvedOptions().timeZone);
  const line = element("div", "livedb-line");
  line.append(input, zone);
  const read = (): Draft => {
    if (input.value === shown) return given; // as it was, to the microsecond
    const moment = new Date(input.value);
    return Number.isNaN(moment.getTime()) ? "" : moment.toISOString();
  };
  return leaf(input, [line], read, around);
}

function localText(moment: Date): string {
  if (Number.isNaN(moment.getTime())) return "";
  const local = new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

function createList(node: FieldNode, drafts: Draft[], around: Around): Control {
  const whole = element("div", "livedb-list");
  const items = whole.appendChild(element("div", "livedb-items"));
  const add = button("+ add");
  const controls: { control: Control; row: HTMLElement }[] = [];
  whole.append(add);

  const append = (draft: Draft | undefined): Control => {
    const control = createControl(node.element ?? { kind: "json", type: "", nullable: false }, draft, around);
    const row = element("div", "livedb-item");
    const remove = button("×");
    remove.setAttribute("aria-label", "remove this one");
    row.append(control.element, remove);
    items.append(row);
    controls.push({ control, row });
    remove.addEventListener("click", () => {
      const at = controls.findIndex((each) => each.row === row);
      controls.splice(at, 1);
      row.remove();
      (controls[Math.min(at, controls.length - 1)]?.control ?? { focus: () => add.focus() }).focus();
      label();
      around.changed();
    });
    label();
    return control;
  };
  const label = (): void =>
    controls.forEach(({ control }, at) => control.input?.setAttribute("aria-label", `item ${at + 1}`));
  add.addEventListener("click", () => {
    append(undefined).focus();
    around.changed();
  });
  for (const draft of drafts) append(draft);
  return {
    element: whole,
    input: null,
    read: () => controls.map(({ control }) => control.read()),
    show: (path, errors, isAll, shown) =>
      controls.forEach(({ control }, at) => control.show(`${path}[${at}]`, errors, isAll, shown)),
    focus: () => (controls[0]?.control ?? { focus: () => add.focus() }).focus(),
  };
}

/** Fields inside; where nothing may be given, they come when asked for. */
function createObject(node: FieldNode, draft: Draft | undefined, around: Around): Control {
  const isGiven = typeof draft === "object" && draft !== null && !Array.isArray(draft);
  const fields = createFields(node.fields ?? [], isGiven ? (draft as { [name: string]: Draft }) : {}, around);
  const whole = element("div", "livedb-object");
  if (!node.nullable) {
    whole.append(fields.element);
    return { ...fields, element: whole };
  }
  const input = document.createElement("input");
  input.type = "checkbox";
  input.checked = isGiven;
  const label = element("label", "livedb-line");
  label.append(input, element("span", "livedb-aside", "give it"));
  const update = (): void => void (fields.element.hidden = !input.checked);
  input.addEventListener("input", () => {
    update();
    around.changed();
  });
  update();
  whole.append(label, fields.element);
  return {
    ...fields,
    element: whole,
    read: () => (input.checked ? fields.read() : null),
    focus: () => input.focus(),
  };
}

function createVariant(node: FieldNode, draft: Draft | undefined, around: Around): Control {
  const members = node.members ?? [];
  const given = typeof draft === "object" && draft !== null && !Array.isArray(draft) ? draft : null;
  const whole = element("div", "livedb-object");
  const select = document.createElement("select");
  select.setAttribute("aria-label", "type");
  if (node.nullable) select.append(option("", "none"));
  members.forEach((member, at) => select.append(option(String(at), member.type)));
  if (given !== null) select.value = String(given["of"]);
  const controls = members.map((member, at) =>
    createControl(member, given !== null && given["of"] === at ? given["draft"] : undefined, around),
  );
  const update = (): void =>
    controls.forEach((control, at) => void (control.element.hidden = select.value !== String(at)));
  select.addEventListener("input", () => {
    update();
    around.changed();
  });
  update();
  whole.append(select, ...controls.map((control) => control.element));
  const current = (): Control | undefined => (select.value === "" ? undefined : controls[Number(select.value)]);
  return {
    element: whole,
    input: select,
    read: () => (select.value === "" ? null : { of: Number(select.value), draft: current()?.read() ?? null }),
    show: (path, errors, isAll, shown) => current()?.show(path, errors, isAll, shown),
    focus: () => select.focus(),
  };
}

/** Labelled fields under each other. */
export function createFields(fields: readonly Field[], drafts: { [name: string]: Draft }, around: Around): Control {
  const whole = element("div", "livedb-fields");
  const made = fields.map((field) => {
    const control = createControl(field, drafts[field.name], around);
    whole.append(labelled(field, control));
    return { field, control };
  });
  return {
    element: whole,
    input: null,
    read: () => Object.fromEntries(made.map(({ field, control }) => [field.name, control.read()])),
    show: (path, errors, isAll, shown) => {
      for (const { field, control } of made) control.show(path + field.step, errors, isAll, shown);
    },
    focus: () => made[0]?.control.focus(),
  };
}

function labelled(field: Field, control: Control): HTMLElement {
  const row = element("div", "livedb-field");
  const head = control.input === null ? element("div", "livedb-label") : document.createElement("label");
  head.className = "livedb-label";
  head.append(element("span", "livedb-name", field.name), element("span", "livedb-type", typeOf(field)));
  if (head instanceof HTMLLabelElement && control.input !== null) head.htmlFor = control.input.id;
  if (control.input === null) {
    head.id = `livedb-${randomName()}`;
    control.element.setAttribute("role", "group");
    control.element.setAttribute("aria-labelledby", head.id);
  } else if (!field.nullable && !field.optional && field.kind !== "checkbox") {
    control.input.setAttribute("aria-required", "true");
  }
  if (field.kind === "checkbox") row.classList.add("livedb-beside");
  row.append(head, control.element);
  return row;
}

function typeOf(field: Field): string {
  const type = field.kind === "choice" || field.kind === "object" ? "" : field.type;
  const words = [type, field.optional && !field.nullable ? "optional" : ""];
  return words.filter((each) => each !== "").join(" · ");
}

export function element(tag: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== "") made.textContent = text;
  return made;
}

export function button(text: string): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "livedb-small";
  made.textContent = text;
  return made;
}

function option(value: string, text: string): HTMLOptionElement {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}
