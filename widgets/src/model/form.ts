// A form as the kernel describes it (livedb/notebook/form_fields.py) and the messages between the two
// (livedb/notebook/forms.py). A page knows no types: it draws fields, and the kernel reads the drafts.

import { type Answer, type AskedModel, type Asker, createAsker } from "./asker.js";

/** What a field holds: text, a boolean, the position of a choice, drafts inside, null for nothing. */
export type Draft = string | number | boolean | null | Draft[] | { [name: string]: Draft };

export interface FieldNode {
  kind: string;
  type: string;
  nullable: boolean;
  long?: boolean;
  options?: string[];
  table?: string;
  element?: FieldNode;
  fields?: Field[];
  members?: FieldNode[];
}

export interface Field extends FieldNode {
  name: string;
  /** What its path adds to that of the object it is in, such as `.title`. */
  step: string;
  optional: boolean;
  /** Whether the function has a value for it when nothing is given. */
  default: boolean;
}

export interface Description {
  name: string;
  summary: string;
  version: number;
  fields: Field[];
  drafts: { [name: string]: Draft };
}

/** By path, such as `.tags[2]`. */
export type Errors = ReadonlyMap<string, string>;

export interface Outcome {
  kind: "done" | "refused";
  text: string;
  code: string;
  path: string;
  /** Of the live table that shows what it gave; "" if there is none. */
  address: string;
}

export interface Picked {
  found: [id: string, label: string][];
  more: boolean;
}

export interface Calls extends Pick<Asker, "onStanding"> {
  /** Whether what is typed fits. */
  check(drafts: Draft): Promise<Errors>;
  pick(table: string, text: string): Promise<Picked>;
  /** Calls the function once; what is wrong with the drafts, or how the call ended. */
  submit(drafts: Draft): Promise<Errors | Outcome>;
}

export function createCalls(model: AskedModel, signal: AbortSignal): Calls {
  const { ask, onStanding } = createAsker(model, signal);
  return {
    check: async (drafts) => readErrors(await ask({ kind: "check", drafts })),
    pick: async (table, text) => {
      const answer = await ask({ kind: "pick", table, text });
      const found = Array.isArray(answer["found"]) ? answer["found"] : [];
      return { found: found.map((each) => [String(each[0]), String(each[1])]), more: answer["more"] === true };
    },
    submit: async (drafts) => {
      const answer = await ask({ kind: "submit", drafts });
      if (answer["kind"] === "checked") return readErrors(answer);
      const isDone = answer["kind"] === "done";
      const text = String(answer[isDone ? "text" : "message"] ?? "");
      return { kind: isDone ? "done" : "refused", text, code: String(answer["code"] ?? ""), path: String(answer["path"] ?? ""), address: String(answer["address"] ?? "") };
    },
    onStanding,
  };
}

function readErrors(answer: Answer): Errors {
  const errors = answer["errors"];
  return new Map(Object.entries(typeof errors === "object" && errors !== null ? errors : {}).map(([path, each]) => [path, String(each)]));
}

export function isOutcome(answer: Errors | Outcome): answer is Outcome {
  return "kind" in answer;
}
