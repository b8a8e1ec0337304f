// A workspace as its kernel tells it (livedb/notebook/explorer.py, overview.py), and what may be asked.

import { type AskedModel, type Asker, createAsker } from "./asker.js";

/** What a line opens: a live table, a form, what a commit changed. */
export type Opens = [what: string, name: string];

export interface Line {
  cells: string[];
  opens: Opens | null;
}

export interface Section {
  heads: string[];
  /** The columns that are set right. */
  numeric: number[];
  lines: Line[];
  /** Lines that are left out. */
  more: number;
}

export interface State {
  title: string;
  status: string;
  number: number;
  sections: Section[];
}

export interface DocumentChange {
  table: string;
  id: string;
  what: string;
  /** Name, value before, value after. */
  fields: [string, string | null, string | null][];
  others: number;
}

export interface Changes {
  documents: DocumentChange[];
  others: number;
}

export interface Workspace extends Pick<Asker, "onStanding"> {
  look(): Promise<State>;
  /** The address of what was opened, or what a commit changed. */
  open(opens: Opens): Promise<string | Changes>;
  close(address: string): void;
}

export function createWorkspace(model: AskedModel, signal: AbortSignal): Workspace {
  const { ask, onStanding } = createAsker(model, signal);
  return {
    look: async () => (await ask({ kind: "look" }))["state"] as State,
    open: async ([what, name]) => {
      const answer = await ask({ kind: "open", what, name });
      return answer["kind"] === "changes" ? (answer["changes"] as Changes) : String(answer["address"]);
    },
    close: (address) => void ask({ kind: "close", address }).catch(() => undefined),
    onStanding,
  };
}

/** What tells a line from the others, so that it stays the same element while its texts change. */
export function keyOf(line: Line): string {
  return line.opens === null ? `\u0000${line.cells[0]}\u0000${line.cells[1]}` : line.opens.join("\u0000");
}
