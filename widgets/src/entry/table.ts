// The live table: state in, DOM out. One store per model, made when the model is, so that a view
// opened later starts from what the page already knows; state lives in this closure because some
// hosts evaluate the module once for all models, others once per model.

import type { InitializeProps, RenderProps } from "@anywidget/types";
import { createStore, type Model, type Store } from "../model/store.js";
import { keepInPlaces } from "../view/places.js";
import { createTable } from "../view/table.js";
import "./table.css";

/** A host that shows widgets in a shadow tree, as marimo does, has our style sheet only there. */
function ensureStyle(root: HTMLElement, css: string): void {
  root.classList.add("livedb");
  if (getComputedStyle(root).getPropertyValue("--livedb-text") !== "") return;
  const style = document.createElement("style");
  style.textContent = css;
  root.before(style);
}

export default () => {
  let store: Store | null = null;
  return {
    initialize({ model, signal }: InitializeProps): void {
      const made = createStore(model as unknown as Model, signal);
      store = made;
      const draw = (root: HTMLElement, end: AbortSignal): void => {
        ensureStyle(root, String(model.get("_css") ?? ""));
        createTable(root, made, end);
      };
      keepInPlaces(String(model.get("address")), draw, signal);
    },
    render({ el, signal }: RenderProps): void {
      if (store === null) throw new Error("livedb: a table was drawn before its model was made");
      createTable(el.appendChild(document.createElement("div")), store, signal);
    },
  };
};
