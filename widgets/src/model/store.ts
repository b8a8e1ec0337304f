// The state of one table on one page, shared by its views. It applies what the kernel sends, notices
// what was missed, and asks for it. No DOM.
//
// One rule repairs every gap: `sequence` is the newest update heard of, each view's window carries
// the update it is at, and a view that is behind and has no request under way asks for its window.
// Updates are patches over what the kernel believes a view to hold, by its name (`base`): the update before,
// or the request whose answer that was. A view that holds another, as that answer was lost, takes no patch,
// and is behind then.

import { type Arrangement, isPlain, PLAIN } from "./arrangement.js";
import { sameColumns } from "./columns.js";
import type { Dress, MakeDress } from "./formats.js";
import {
  type Column, type EditStep, type Entry, type Format, type Incoming, type Outcome, type Outgoing, readIncoming, type Reference, readState, type TableState,
} from "./messages.js";
import { loadPart } from "./parts.js";
import { deliver, listen, randomName, realmId } from "./realm.js";
import { applyPatch, GapError, type RowWindow, wholeWindow } from "./rows.js";
import type { Profile } from "./profiles.js";
import type { Range } from "./window.js";

/** Milliseconds without a reply after which a request is sent again; doubles up to the second. */
const RETRY_MS = 3_000;
const RETRY_MS_MAX = 30_000;

/** Milliseconds after which an unanswered request is called waiting. */
const WAITING_MS = 800;

/** Milliseconds of silence after which the kernel counts as gone; it beats every 5 s. */
const SILENT_MS = 16_000;

const TICK_MS = 400;

const GONE = "The kernel does not answer";

/** What of `AnyModel` the store needs; a test passes its own. */
export interface Model {
  get(name: string): unknown;
  send(content: Outgoing): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
}

/**
 * live: what is shown is the newest state heard of. waiting: the kernel has not answered yet.
 * saved: rows stored in the notebook, no kernel heard so far. stale: the kernel is gone.
 * closed: the model is closed; only the rows at hand are left.
 */
export type Status = "live" | "waiting" | "saved" | "stale" | "closed";

export interface Change {
  before: RowWindow | null;
  /** What came: a patch of the window, a whole window, or news about the state only. */
  what: "patch" | "window" | "state";
}

interface Request extends Range {
  sentMs: number;
  retryMs: number;
}

export interface View {
  id: string;
  window: RowWindow | null;
  /** How the reader wants the rows; whoever changes it asks for rows again. */
  arrangement: Arrangement;
  /** What the heads of columns tell, by position; of those that were in sight. */
  profiles: Map<number, Profile>;
  /** Called whenever the window, the state or the status changed. */
  changed: (change: Change) => void;
  /** What was asked for last, until it is answered. */
  request: Request | null;
  /** Its ids, one for each time it was sent: a kernel that has much to do answers them all, the first one late. */
  ids: Set<number>;
}

export interface Store {
  /** Until then formats do not count; null if there are none. */
  ready: Promise<void> | null;
  state(): TableState | null;
  status(): Status;
  openView(changed: (change: Change) => void, signal: AbortSignal): View;
  /** Ask for rows; replaces a request of this view that is still under way. */
  ask(view: View, range: Range): void;
  /** Whether what is shown can be edited in place. */
  isEditable(): boolean;
  /** Do a step of an edit; refused when the kernel is gone before it has answered. */
  edit(step: EditStep): Promise<Outcome>;
  /** Select rows by their keys, or all of a range as this view is arranged; the keys that are selected. */
  select(view: View, rows: readonly string[] | Range, cell: [string, number] | null): Promise<readonly string[]>;
  /** A file of some columns of all rows as this view is arranged, or of those selected; throws why there is none. */
  file(view: View, format: Format, columns: readonly number[], selected: boolean): Promise<File>;
  /** A file of the workspace by its id or a URL of it, any or only a picture; throws why there is none. */
  stored(name: string, what: "file" | "picture"): Promise<File>;
  /** The document that an id names; null when the kernel is gone. */
  reference(key: string): Promise<Reference | null>;
  /** Ask to be told, now and after every change, what the heads of these columns tell. */
  askProfiles(view: View, columns: readonly number[]): void;
  /** What a reader works the table with (view/desk.ts); rejected when the kernel is gone before it has come. */
  desk<T>(): Promise<T>;
}

export function createStore(model: Model, signal: AbortSignal, now: () => number = Date.now): Store {
  const views = new Map<string, View>();
  let state: TableState | null = null;
  let sequence = -1;
  let status: Status = "saved";
  let heardMs = now();
  let isLost = false;
  let lastId = 0;
  let saved: { columns: readonly Column[]; window: RowWindow } | null = null;
  let dress: Dress | null = null;
  const answers = new Map<number, (answer: Incoming | null) => void>();
  const files = new Map<number, DataView[]>();
  let asked: { sentMs: number; resolve: (text: DataView) => void; reject: (reason: Error) => void } | null = null;

  const send = (message: Outgoing): void => {
    try {
      model.send(message);
    } catch {
      setStatus("stale"); // the comm is gone
    }
  };

  const setStatus = (next: Status): void => {
    if (status === next || status === "closed") return;
    status = next;
    if (next === "stale" || next === "closed") {
      giveUp();
      asked?.reject(new Error("the kernel is gone"));
      asked = null;
    }
    notifyAll();
  };

  const notifyAll = (): void => {
    for (const view of views.values()) view.changed({ before: view.window, what: "state" });
  };

  /** Send a request that has one answer; null when the kernel is gone before it has come. */
  const call = (makeMessage: (id: number) => Outgoing): Promise<Incoming | null> => {
    lastId += 1;
    const id = lastId;
    return new Promise((resolve) => {
      answers.set(id, resolve);
      send(makeMessage(id));
      if (status === "stale" || status === "closed") giveUp();
    });
  };

  const answer = (id: number, incoming: Incoming): void => {
    answers.get(id)?.(incoming);
    answers.delete(id);
  };

  const giveUp = (): void => {
    for (const resolve of answers.values()) resolve(null);
    answers.clear();
    files.clear();
  };

  const edit = async (step: EditStep): Promise<Outcome> => {
    const answered = await call((id) => ({ kind: "edit", id, realm: realmId(), ...step }));
    if (answered?.kind === "outcome") return answered.outcome;
    return { state: "refused", text: "", problem: `${GONE}: nothing was written, as far as is known.`, field: null, number: -1 };
  };

  const reference = async (key: string): Promise<Reference | null> => {
    const answered = await call((id) => ({ kind: "reference", id, realm: realmId(), key }));
    return answered?.kind === "reference" ? answered.reference : null;
  };

  const select: Store["select"] = async (view, rows, cell) => {
    const range = "start" in rows ? { start: rows.start, stop: rows.stop } : { keys: rows };
    const answered = await call((id) => ({ kind: "select", id, realm: realmId(), view: view.id, cell, ...range }));
    return answered?.kind === "selected" ? answered.keys : [];
  };

  const file: Store["file"] = (view, format, columns, selected) =>
    callForFile((id) => ({ kind: "export", id, realm: realmId(), view: view.id, format, columns, selected }));

  const stored: Store["stored"] = (name, what) =>
    callForFile((id) => ({ kind: "stored", id, realm: realmId(), file: name, picture: what === "picture" }));

  const callForFile = async (makeMessage: (id: number) => Outgoing): Promise<File> => {
    let id = 0;
    const answered = await call((made) => makeMessage((id = made)));
    const parts = files.get(id) ?? [];
    files.delete(id);
    if (answered?.kind !== "file") throw new Error(`${GONE}.`);
    if (answered.failed !== null) throw new Error(answered.failed);
    return new File(parts as DataView<ArrayBuffer>[], answered.name);
  };

  const receiveFile = (incoming: Extract<Incoming, { kind: "file" }>, [bytes]: readonly DataView[]): void => {
    const parts = files.get(incoming.id) ?? [];
    if (bytes !== undefined) parts[incoming.part] = bytes;
    files.set(incoming.id, parts);
    if (parts.filter(Boolean).length >= incoming.parts || incoming.failed !== null) answer(incoming.id, incoming);
  };

  const fetchDesk = (): Promise<DataView> =>
    new Promise((resolve, reject) => {
      if (status === "stale" || status === "closed") return reject(new Error("the kernel is gone"));
      asked = { sentMs: now(), resolve, reject };
      askDesk();
    });

  const askDesk = (): void => {
    if (asked === null) return;
    lastId += 1;
    asked.sentMs = now();
    send({ kind: "part", id: lastId, realm: realmId(), name: "desk" });
  };

  const hear = (): void => {
    heardMs = now();
    isLost = false;
    setStatus(isWaiting() ? "waiting" : "live");
  };

  const isWaiting = (): boolean =>
    [...views.values()].some(({ request }) => request !== null && now() - request.sentMs >= WAITING_MS);

  const ask = (view: View, range: Range): void => {
    view.ids.clear();
    request(view, range, RETRY_MS);
  };

  const request = (view: View, range: Range, retryMs: number): void => {
    lastId += 1;
    view.ids.add(lastId);
    view.request = { ...range, sentMs: now(), retryMs };
    const arrangement = isPlain(view.arrangement) ? null : view.arrangement;
    const { start, stop } = range;
    send({ kind: "rows", id: lastId, realm: realmId(), view: view.id, start, stop, arrangement });
  };

  const repair = (): void => {
    for (const view of views.values()) {
      const { window } = view;
      if (view.request !== null || window === null || window.sequence >= sequence) continue;
      const length = Math.max(window.rows.length, 50);
      ask(view, { start: window.start, stop: window.start + length });
    }
  };

  const receiveEntry = (entry: Entry, buffers: readonly DataView[]): void => {
    const told = stateOf(entry);
    if (told !== null) {
      if (entry.sequence > (state?.sequence ?? -1)) state = told;
      for (const patch of entry.patches) receivePatch(entry, told, patch, buffers);
    }
    sequence = Math.max(sequence, entry.sequence);
    hear();
    repair();
  };

  /** What an update tells; null in a sign of life, and when the one with its head was missed. */
  const stateOf = ({ news, head }: Entry): TableState | null => {
    if (news === null) return null;
    if (head !== null) return { ...head, ...news };
    return state?.head === news.head ? { ...state, ...news } : null;
  };

  const receivePatch = (
    entry: Entry,
    { columns }: TableState,
    patch: Entry["patches"][number],
    buffers: readonly DataView[],
  ): void => {
    const view = views.get(patch.view);
    const before = view?.window;
    if (view === undefined || before === undefined || before === null || before.sequence >= entry.sequence) return;
    try {
      view.window = applyPatch(before, patch, columns, entry.sequence, buffers, dress);
    } catch (error) {
      if (!(error instanceof GapError)) throw error;
      return; // the view is now behind `sequence`, so it will be repaired
    }
    view.changed({ before, what: "patch" });
  };

  const receiveReply = (reply: Extract<Incoming, { kind: "reply" }>, buffers: readonly DataView[]): void => {
    const view = [...views.values()].find(({ ids }) => ids.has(reply.id));
    if (view === undefined) return; // replaced by a request for others
    if (reply.failed !== null) {
      if (view.request === null) return; // another answer has come
      view.request.sentMs = now(); // it may fail no more: it is sent again, later each time
      if (state !== null) state = { ...state, error: reply.failed };
      hear();
      return notifyAll();
    }
    if (view.request === null && reply.state.sequence < (view.window?.sequence ?? -1)) return;
    view.request = null;
    if (reply.state.sequence >= (state?.sequence ?? -1)) state = reply.state;
    sequence = Math.max(sequence, reply.state.sequence);
    const before = view.window;
    const at = { sequence: reply.state.sequence, base: -reply.id };
    view.window = wholeWindow(reply.content, reply.state.columns, at, buffers, dress);
    hear();
    view.changed({ before, what: "window" });
    repair();
  };

  const receive = (message: unknown, buffers: DataView[]): void => {
    const incoming = readIncoming(message);
    if (incoming?.kind === "batch") {
      deliver(incoming.entries, buffers);
      send({ kind: "acknowledge", realm: realmId(), batch: incoming.batch });
    } else if (incoming?.kind === "reply") {
      receiveReply(incoming, buffers);
    } else if (incoming?.kind === "outcome") {
      answer(incoming.id, incoming);
    } else if (incoming?.kind === "selected" || incoming?.kind === "reference") {
      answer(incoming.id, incoming);
    } else if (incoming?.kind === "file") {
      receiveFile(incoming, buffers);
    } else if (incoming?.kind === "profiles") {
      receiveProfiles(incoming);
    } else if (incoming?.kind === "part" && buffers[0] !== undefined) {
      asked?.resolve(buffers[0]);
      asked = null;
    } else if (incoming?.kind === "closed") {
      close(incoming.ended);
    }
  };

  const receiveProfiles = ({ view: id, columns }: Extract<Incoming, { kind: "profiles" }>): void => {
    const view = views.get(id);
    if (view === undefined) return;
    for (const [at, profile] of columns) view.profiles.set(at, profile);
    hear();
    view.changed({ before: view.window, what: "state" });
  };

  const close = (ended: string): void => {
    if (state !== null) state = { ...state, ended: state.ended ?? ended };
    setStatus("closed");
  };

  const tick = (): void => {
    if (isLost || status === "closed") return; // whoever hears of a kernel again asks again
    // Also of one that is silent: it tells no table of which it knows no view that it lives.
    for (const view of views.values()) retry(view);
    if (views.size === 0) return;
    if (asked !== null && now() - asked.sentMs >= RETRY_MS) askDesk();
    if (now() - heardMs > SILENT_MS) setStatus(status === "saved" ? "saved" : "stale");
    else if (status === "live" && isWaiting()) setStatus("waiting");
  };

  const retry = (view: View): void => {
    const pending = view.request;
    if (pending === null || now() - pending.sentMs < pending.retryMs) return;
    request(view, pending, Math.min(pending.retryMs * 2, RETRY_MS_MAX));
  };

  const restoreSaved = (): void => {
    const page = model.get("first_page") as Record<string, unknown> | undefined;
    if (page === undefined || !(page["arrow"] instanceof DataView)) return;
    state = { ...readState(page), sequence: -1 };
    const keys = Array.isArray(page["keys"]) ? page["keys"].map(String) : null;
    const content = { start: 0, rows: Number(page["rows"]), keys, buffer: 0 };
    saved = { columns: state.columns, window: wholeWindow(content, state.columns, { sequence: -1, base: 0 }, [page["arrow"]], dress) };
  };

  /** Have what formats of columns need; null if there are none. Rows that came before come once more. */
  const dressRows = (): Promise<void> | null => {
    const text = String(model.get("looks") ?? "");
    if (text === "" || dress !== null) return null;
    return loadPart<{ makeDress: MakeDress }>(text, () => Promise.resolve(text)).then((module) => {
      dress = module.makeDress((name) => stored(name, "picture"), signal);
      if (sequence < 0) restoreSaved();
      for (const view of views.values()) {
        const { window } = view;
        if (window === null || window.sequence < 0) view.window = firstWindow();
        else ask(view, { start: window.start, stop: window.start + window.rows.length });
      }
      notifyAll();
    }, () => {}); // a host that lets no module in: values as they are
  };

  /** The stored rows, unless the result has had other columns since then. */
  const firstWindow = (): RowWindow | null =>
    saved !== null && state !== null && sameColumns(saved.columns, state.columns) ? saved.window : null;

  const openView: Store["openView"] = (changed, viewSignal) => {
    const view: View = { id: randomName(), window: firstWindow(), arrangement: PLAIN, profiles: new Map(), changed, request: null, ids: new Set() };
    views.set(view.id, view);
    viewSignal.addEventListener("abort", () => {
      views.delete(view.id);
      send({ kind: "close", realm: realmId(), view: view.id });
    });
    return view;
  };

  const onLooks = (): void => void dressRows();
  const lostKernel = (): void => {
    isLost = true;
    setStatus("stale");
  };
  const timer = setInterval(tick, TICK_MS);
  model.on("msg:custom", receive);
  model.on("change:looks", onLooks);
  model.on("comm_live_update", lostKernel); // JupyterLab says so at once when a kernel restarts
  listen(String(model.get("address")), receiveEntry, signal);
  signal.addEventListener("abort", () => {
    close("This table was closed.");
    clearInterval(timer);
    model.off("msg:custom", receive);
    model.off("change:looks", onLooks);
    model.off("comm_live_update", lostKernel);
  });
  restoreSaved();
  const ready = dressRows();
  return {
    ready,
    state: () => state,
    status: () => status,
    openView,
    ask,
    isEditable: () => model.get("editable") === true,
    edit,
    reference,
    select,
    file,
    stored,
    desk: <T,>() => loadPart<T>(String(model.get("desk")), fetchDesk),
    askProfiles: (view, columns) => send({ kind: "profiles", realm: realmId(), view: view.id, columns }),
  };
}
