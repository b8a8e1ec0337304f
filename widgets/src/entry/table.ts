// The live table: state in, DOM out. One store per model, made when the model is, so that a view
// opened later starts from what the page already knows; state lives in this closure because some
// hosts evaluate the module once for all models, others once per model.

import type { InitializeProps, RenderProps } from "@anywidget/types";
import { keepHearing } from "../model/hearing.js";
import { createStore, type Model, type Store } from "../model/store.js";
import { tellVersion } from "../model/version.js";
import { keepInPlaces } from "../view/places.js";
import { ensureStyle } from "../view/style.js";
import { createTable } from "../view/table.js";
import "./table.css";

export default () => {
  let store: Store | null = null;
  return {
    initialize({ model, signal }: InitializeProps): void | Promise<void> {
      void keepHearing(model);
      const made = createStore(model as unknown as Model, signal);
      store = made;
      const draw = (root: HTMLElement, end: AbortSignal): void => {
        root.classList.add("livedb");
        ensureStyle(root, String(model.get("_css") ?? ""));
        createTable(root, made, end);
      };
      tellVersion(model, signal);
      const keep = (): void => keepInPlaces(String(model.get("address")), draw, signal);
      return whenReady(made, keep, signal); // the stored rows stay until then
    },
    render({ el, signal }: RenderProps): void | Promise<void> {
      if (store === null) throw new Error("livedb: a table was drawn before its model was made");
      const root = el.appendChild(document.createElement("div"));
      const shown = store;
      return whenReady(shown, () => createTable(root, shown, signal), signal);
    },
  };
};

/** At once, unless there are formats that need their module. */
function whenReady({ ready }: Store, then: () => void, signal: AbortSignal): void | Promise<void> {
  return ready === null ? then() : ready.then(() => (signal.aborted ? undefined : then()));
}
