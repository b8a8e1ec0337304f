// The state of one table on one page, shared by its views. It applies what the kernel sends, notices
// what was missed, and asks for it. No DOM.
//
// One rule repairs every gap: `sequence` is the newest update heard of, each view's window carries
// the update it is at, and a view that is behind and has no request under way asks for its window.

import { type Arrangement, isPlain, PLAIN } from "./arrangement.js";
import { type Entry, type Incoming, type Outgoing, readIncoming, readState, type TableState } from "./messages.js";
import { deliver, listen, randomName, realmId } from "./realm.js";
import { applyPatch, GapError, type RowWindow, wholeWindow } from "./rows.js";
import type { Range } from "./window.js";

/** Milliseconds without a reply after which a request is sent again; doubles up to the second. */
const RETRY_MS = 3_000;
const RETRY_MS_MAX = 30_000;

/** Milliseconds after which an unanswered request is called waiting. */
const WAITING_MS = 800;

/** Milliseconds of silence after which the kernel counts as gone; it beats every 5 s. */
const SILENT_MS = 16_000;

const TICK_MS = 400;

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
  id: number;
  sentMs: number;
  retryMs: number;
}

export interface View {
  id: string;
  window: RowWindow | null;
  /** How the reader wants the rows; whoever changes it asks for rows again. */
  arrangement: Arrangement;
  /** Called whenever the window, the state or the status changed. */
  changed: (change: Change) => void;
  request: Request | null;
}

export interface Store {
  state(): TableState | null;
  status(): Status;
  openView(changed: (change: Change) => void, signal: AbortSignal): View;
  /** Ask for rows; replaces a request of this view that is still under way. */
  ask(view: View, range: Range): void;
}

export function createStore(model: Model, signal: AbortSignal, now: () => number = Date.now): Store {
  const views = new Map<string, View>();
  let state: TableState | null = null;
  let sequence = -1;
  let status: Status = "saved";
  let heardMs = now();
  let lastId = 0;
  let saved: RowWindow | null = null;

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
    notifyAll();
  };

  const notifyAll = (): void => {
    for (const view of views.values()) view.changed({ before: view.window, what: "state" });
  };

  const hear = (): void => {
    heardMs = now();
    setStatus(isWaiting() ? "waiting" : "live");
  };

  const isWaiting = (): boolean =>
    [...views.values()].some(({ request }) => request !== null && now() - request.sentMs >= WAITING_MS);

  const request = (view: View, range: Range, retryMs: number): void => {
    lastId += 1;
    view.request = { ...range, id: lastId, sentMs: now(), retryMs };
    const arrangement = isPlain(view.arrangement) ? null : view.arrangement;
    const { start, stop } = range;
    send({ kind: "rows", id: lastId, realm: realmId(), view: view.id, start, stop, arrangement });
  };

  const repair = (): void => {
    for (const view of views.values()) {
      const { window } = view;
      if (view.request !== null || window === null || window.sequence >= sequence) continue;
      const length = Math.max(window.rows.length, 50);
      request(view, { start: window.start, stop: window.start + length }, RETRY_MS);
    }
  };

  const receiveEntry = (entry: Entry, buffers: readonly DataView[]): void => {
    if (entry.state !== null && entry.sequence > (state?.sequence ?? -1)) state = entry.state;
    if (entry.state !== null) for (const patch of entry.patches) receivePatch(entry, entry.state, patch, buffers);
    sequence = Math.max(sequence, entry.sequence);
    hear();
    repair();
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
      view.window = applyPatch(before, patch, columns, entry.sequence, buffers);
    } catch (error) {
      if (!(error instanceof GapError)) throw error;
      return; // the view is now behind `sequence`, so it will be repaired
    }
    view.changed({ before, what: "patch" });
  };

  const receiveReply = (reply: Extract<Incoming, { kind: "reply" }>, buffers: readonly DataView[]): void => {
    const view = [...views.values()].find((each) => each.request?.id === reply.id);
    if (view === undefined) return; // replaced by a newer request
    view.request = null;
    if (reply.failed !== null) {
      if (state !== null) state = { ...state, error: reply.failed };
      hear();
      return notifyAll();
    }
    if (reply.state.sequence >= (state?.sequence ?? -1)) state = reply.state;
    sequence = Math.max(sequence, reply.state.sequence);
    const before = view.window;
    view.window = wholeWindow(reply.content, reply.state.columns, reply.state.sequence, buffers);
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
    } else if (incoming?.kind === "closed") {
      close(incoming.ended);
    }
  };

  const close = (ended: string): void => {
    if (state !== null) state = { ...state, ended: state.ended ?? ended };
    setStatus("closed");
  };

  const tick = (): void => {
    if (status === "stale" || status === "closed") return; // a later beat wakes it up again
    for (const view of views.values()) retry(view);
    if (views.size === 0) return;
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
    saved = wholeWindow(content, state.columns, -1, [page["arrow"]]);
  };

  const openView: Store["openView"] = (changed, viewSignal) => {
    const view: View = { id: randomName(), window: saved, arrangement: PLAIN, changed, request: null };
    views.set(view.id, view);
    viewSignal.addEventListener("abort", () => {
      views.delete(view.id);
      send({ kind: "close", realm: realmId(), view: view.id });
    });
    return view;
  };

  const lostKernel = (): void => setStatus("stale");
  const timer = setInterval(tick, TICK_MS);
  model.on("msg:custom", receive);
  model.on("comm_live_update", lostKernel); // JupyterLab says so at once when a kernel restarts
  listen(String(model.get("address")), receiveEntry, signal);
  signal.addEventListener("abort", () => {
    close("This table was closed.");
    clearInterval(timer);
    model.off("msg:custom", receive);
    model.off("comm_live_update", lostKernel);
  });
  restoreSaved();
  return { state: () => state, status: () => status, openView, ask: (view, range) => request(view, range, RETRY_MS) };
}
