// A workspace on a page: a table for each kind of thing in it, whose lines open below themselves.

import { type Changes, keyOf, type Line, type Opens, type Section, type State, type Workspace } from "../model/explorer.js";
import { element } from "./fields.js";

/** Milliseconds between two looks while it is in sight. */
const LOOK_MS = 1_000;

const STANDINGS = {
  "": "",
  waiting: "Waiting for the kernel: a cell may be running.",
  gone: "The kernel restarted or is gone. Run the cell again.",
};

export function createExplorer(root: HTMLElement, workspace: Workspace, signal: AbortSignal): void {
  root.classList.add("livedb-panel", "livedb-explorer");
  root.setAttribute("role", "group");
  root.dataset["lmSuppressShortcuts"] = "true"; // JupyterLab: keys are ours while something in it has the focus
  const head = root.appendChild(element("div", "livedb-head"));
  const title = head.appendChild(element("span", "livedb-title"));
  const aside = head.appendChild(element("span", "livedb-aside"));
  const advice = root.appendChild(element("div", "livedb-advice"));
  const empty = root.appendChild(element("div", "livedb-empty"));
  advice.setAttribute("role", "status");
  advice.hidden = empty.hidden = true;
  empty.textContent = "No tables yet: @db.table defines one, or db[name].insert(document).";

  const sections: ReturnType<typeof createSection>[] = [];
  let shown = "";
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isInSight = true;
  let isAsking = false;
  let standing: keyof typeof STANDINGS = "";
  let commit = "";

  const show = (state: State): void => {
    title.textContent = state.title;
    root.setAttribute("aria-label", state.title);
    commit = `commit ${state.number.toLocaleString("en")}`;
    aside.textContent = `${commit} · ${state.status}`;
    empty.hidden = state.sections.some(({ lines }) => lines.length > 0);
    state.sections.forEach((section, at) => {
      sections[at] ??= createSection(root, workspace, signal);
      sections[at].show(section);
    });
  };

  const look = async (): Promise<void> => {
    clearTimeout(timer);
    if (isAsking || standing === "gone" || signal.aborted) return;
    isAsking = true;
    try {
      const state = await workspace.look();
      const text = JSON.stringify(state);
      if (text !== shown) show(state);
      shown = text;
      say("");
    } catch (error) {
      say(error instanceof Error ? error.message : String(error));
    }
    isAsking = false;
    if (isInSight && !document.hidden && !signal.aborted) timer = setTimeout(() => void look(), LOOK_MS);
  };

  const say = (text: string): void => {
    advice.textContent = text;
    advice.hidden = text === "";
  };

  workspace.onStanding((now) => {
    standing = now;
    say(STANDINGS[now]);
    if (now !== "gone") return;
    aside.textContent = commit === "" ? "stale" : `${commit} · stale`;
    for (const section of sections) section.end();
  }, signal);
  const sight = new IntersectionObserver((entries) => {
    isInSight = entries.at(-1)?.isIntersecting ?? true;
    if (isInSight) void look();
  });
  sight.observe(root);
  document.addEventListener("visibilitychange", () => void (document.hidden || look()), { signal });
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    sight.disconnect();
  });
  void look();
}

interface Row {
  row: HTMLTableRowElement;
  texts: HTMLElement[];
  /** What is open below it. */
  detail: HTMLTableRowElement | null;
  /** Of what was opened for it. */
  address: string | null;
  /** Ends an opening that is under way when the line is closed meanwhile. */
  turn: number;
}

function createSection(root: HTMLElement, workspace: Workspace, signal: AbortSignal) {
  const box = root.appendChild(element("div", "livedb-section"));
  const table = box.appendChild(document.createElement("table"));
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  const more = box.appendChild(element("div", "livedb-more"));
  const rows = new Map<string, Row>();
  let columns = 1;
  let isEnded = false;

  const make = (line: Line, numeric: readonly number[]): Row => {
    const row = document.createElement("tr");
    const texts = line.cells.map((_, at) => {
      const cell = row.appendChild(document.createElement(at === 0 ? "th" : "td"));
      if (at === 0) (cell as HTMLTableCellElement).scope = "row";
      cell.classList.toggle("livedb-number", numeric.includes(at));
      return cell as HTMLElement;
    });
    const made: Row = { row, texts, detail: null, address: null, turn: 0 };
    const { opens } = line;
    const first = texts[0];
    if (first === undefined) return made;
    if (opens === null) texts[0] = first.appendChild(document.createElement("span"));
    else {
      const button = first.appendChild(document.createElement("button"));
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => void toggle(made, button, opens), { signal });
      texts[0] = button;
    }
    return made;
  };

  const toggle = async (of: Row, button: HTMLButtonElement, opens: Opens): Promise<void> => {
    if (of.detail !== null) {
      close(of);
      button.setAttribute("aria-expanded", "false");
      button.disabled = isEnded;
      return;
    }
    button.setAttribute("aria-expanded", "true");
    const detail = document.createElement("tr");
    of.detail = detail;
    const turn = ++of.turn;
    const cell = detail.insertCell();
    cell.colSpan = columns;
    cell.className = "livedb-detail";
    cell.textContent = "…";
    of.row.after(detail);
    try {
      const opened = await workspace.open(opens);
      const isWanted = of.turn === turn && of.detail === detail;
      if (typeof opened === "string") {
        if (!isWanted) return workspace.close(opened);
        of.address = opened;
        cell.replaceChildren(placeOf(opened, opens));
      } else if (isWanted) cell.replaceChildren(changesOf(opened));
    } catch (error) {
      cell.textContent = error instanceof Error ? error.message : String(error);
    }
  };

  const close = (of: Row): void => {
    of.turn += 1;
    of.detail?.remove();
    of.detail = null;
    if (of.address !== null) workspace.close(of.address);
    of.address = null;
  };

  return {
    /** Nothing can be opened any more; what is open can be closed. */
    end(): void {
      isEnded = true;
      for (const button of body.querySelectorAll<HTMLButtonElement>(":scope > tr > th > button[aria-expanded=false]")) {
        button.disabled = true;
      }
    },
    show(section: Section): void {
      box.hidden = section.lines.length === 0;
      columns = section.heads.length;
      head.replaceChildren(...section.heads.map((text, at) => {
        const cell = document.createElement(text === "" ? "td" : "th");
        if (text !== "") (cell as HTMLTableCellElement).scope = "col";
        cell.textContent = text;
        cell.classList.toggle("livedb-number", section.numeric.includes(at));
        return cell;
      }));
      more.textContent = section.more > 0 ? `and ${section.more.toLocaleString("en")} more` : "";
      const keys = new Set(section.lines.map(keyOf));
      for (const [key, row] of rows) {
        if (keys.has(key)) continue;
        close(row);
        row.row.remove();
        rows.delete(key);
      }
      let before: Element | null = null;
      for (const line of section.lines) {
        const key = keyOf(line);
        let row = rows.get(key);
        if (row === undefined) rows.set(key, (row = make(line, section.numeric)));
        line.cells.forEach((text, at) => {
          const target = row.texts[at];
          if (target === undefined || target.textContent === text) return;
          target.textContent = text;
          target.title = text;
        });
        // Only what is elsewhere is moved: moving what is open below a line would begin it anew.
        const next: Element | null = before === null ? body.firstElementChild : before.nextElementSibling;
        if (next !== row.row) body.insertBefore(row.row, next);
        if (row.detail !== null && row.row.nextElementSibling !== row.detail) row.row.after(row.detail);
        before = row.detail ?? row.row;
      }
    },
  };
}

const CALLS: { [what: string]: string } = { form: "form()", arguments: "live(…)" };

/** Where a live table or a form finds its place (places.ts); a host that has none says what to run. */
function placeOf(address: string, [what, name]: Opens): HTMLElement {
  const place = element("div", `livedb-at-${address}`);
  const stored = place.appendChild(element("div", "livedb-stored"));
  const shown = JSON.stringify(name);
  stored.textContent =
    what === "table" ? `db[${shown}].live()` : `db.function(${shown}).${CALLS[what] ?? "live()"}`;
  return place;
}

function changesOf({ documents, others }: Changes): HTMLElement {
  const list = element("div", "livedb-changes");
  for (const change of documents) {
    const head = list.appendChild(element("div", "livedb-change"));
    head.appendChild(element("span", `livedb-what livedb-${change.what}`)).textContent = change.what;
    head.appendChild(element("span", "livedb-of")).textContent = `${change.table} ${change.id}`;
    const fields = list.appendChild(document.createElement("dl"));
    for (const [name, before, after] of change.fields) {
      fields.appendChild(document.createElement("dt")).textContent = name;
      const values = fields.appendChild(document.createElement("dd"));
      if (before !== null) values.appendChild(document.createElement("del")).textContent = before;
      if (before !== null && after !== null) values.append(" ");
      if (after !== null) values.appendChild(document.createElement("ins")).textContent = after;
    }
    if (change.others > 0) list.appendChild(element("div", "livedb-more")).textContent = `and ${change.others} more fields`;
  }
  if (others > 0) list.appendChild(element("div", "livedb-more")).textContent = `and ${others.toLocaleString("en")} more documents`;
  if (documents.length === 0 && others === 0) list.textContent = "no documents were written one by one";
  return list;
}
