// One form on a page: fields, a button, what came of it. What was typed stays until a call succeeds.

import type { Calls, Description, Draft, Errors } from "../model/form.js";
import { isOutcome } from "../model/form.js";
import { type Control, createFields, element } from "./fields.js";

/** Milliseconds after the last key before the kernel is asked whether it fits. */
const PAUSE_MS = 150;

const STANDINGS = {
  "": "",
  waiting: "Waiting for the kernel: a cell may be running.",
  gone: "The kernel restarted or is gone; what you typed is still here. Run the cell again.",
};

const NO_ERRORS: Errors = new Map();

export function createForm(
  root: HTMLElement,
  describe: () => Description,
  calls: Calls,
  signal: AbortSignal,
): { redraw: () => void } {
  root.classList.add("livedb-panel", "livedb-form");
  const form = root.appendChild(document.createElement("form"));
  form.noValidate = true;
  const head = form.appendChild(element("div", "livedb-head"));
  const name = head.appendChild(element("span", "livedb-title"));
  const summary = head.appendChild(element("span", "livedb-aside"));
  const advice = form.appendChild(element("div", "livedb-advice"));
  const place = form.appendChild(element("div", "livedb-place"));
  const foot = form.appendChild(element("div", "livedb-foot"));
  const go = foot.appendChild(document.createElement("button"));
  const status = foot.appendChild(element("div", "livedb-status"));
  const result = root.appendChild(element("div", "livedb-result")); // its keys are none of the form's
  go.type = "submit";
  go.className = "livedb-go";
  status.setAttribute("role", "status");
  advice.setAttribute("role", "status");

  let fields: Control;
  let errors: Errors = NO_ERRORS;
  let isAll = false;
  let isUnderWay = false;
  let edits = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const draw = (drafts: { [name: string]: Draft }): void => {
    const description = describe();
    name.textContent = description.name;
    summary.textContent = description.summary;
    go.textContent = description.name;
    fields = createFields(description.fields, drafts, { calls, changed });
    place.replaceChildren(fields.element);
    errors = NO_ERRORS;
    isAll = false;
  };

  const changed = (): void => {
    edits += 1;
    if (!isUnderWay) say("");
    clearTimeout(timer);
    timer = setTimeout(() => void check(), PAUSE_MS);
  };

  const check = async (): Promise<void> => {
    const asked = edits;
    const found = await calls.check(fields.read()).catch(() => null);
    if (found !== null && asked === edits && !isUnderWay) showErrors(found);
  };

  const showErrors = (found: Errors): void => {
    errors = found;
    const shown = new Set<string>();
    fields.show("", errors, isAll, shown);
    const others = [...errors].filter(([path]) => !shown.has(path));
    if (isAll) say(others.map(([path, message]) => `${path} ${message}`.trim()).join("\n"), "wrong");
  };

  const say = (text: string, kind: "" | "wrong" | "done" = ""): void => {
    status.dataset["kind"] = text === "" ? "" : kind;
    status.textContent = text;
  };

  const setUnderWay = (value: boolean): void => {
    isUnderWay = value;
    go.disabled = value;
    form.setAttribute("aria-busy", String(value));
    go.classList.toggle("livedb-busy", value);
  };

  const submit = async (): Promise<void> => {
    if (isUnderWay) return;
    clearTimeout(timer);
    setUnderWay(true);
    say("under way …");
    try {
      const answer = await calls.submit(fields.read());
      setUnderWay(false);
      isAll = true;
      if (!isOutcome(answer)) {
        say("");
        showErrors(answer);
        focusWrong();
      } else if (answer.kind === "refused") {
        showErrors(answer.path === "" ? NO_ERRORS : new Map([[answer.path, answer.text]]));
        say(`${answer.code}: ${answer.text}`, "wrong");
        focusWrong();
      } else if (answer.address !== "") {
        showErrors(NO_ERRORS);
        say("");
        const at = result.appendChild(element("div", `livedb-at-${answer.address}`)); // see places.ts
        at.appendChild(element("div", "livedb-stored")).textContent = answer.text;
        result.replaceChildren(at);
      } else {
        draw(describe().drafts);
        fields.focus();
        say(answer.text === "" ? "done" : `done: ${answer.text}`, "done");
      }
    } catch (error) {
      setUnderWay(false);
      say(error instanceof Error ? error.message : String(error), "wrong");
    }
  };

  const focusWrong = (): void => form.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void submit();
  });
  form.addEventListener("keydown", (event) => {
    event.stopPropagation(); // none of the notebook's keys
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void submit();
  });
  calls.onStanding((standing) => {
    advice.textContent = STANDINGS[standing];
    advice.hidden = standing === "";
    if (standing === "gone") setUnderWay(false);
    go.disabled = isUnderWay || standing === "gone";
  }, signal);
  advice.hidden = true;
  signal.addEventListener("abort", () => clearTimeout(timer));
  draw(describe().drafts);
  // The function was defined anew: fields that are still there keep what was typed.
  return { redraw: () => draw({ ...describe().drafts, ...(fields.read() as { [name: string]: Draft }) }) };
}
