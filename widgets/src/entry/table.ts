// The live table: state in, DOM out. One store per model, made when the model is, so that a view
// opened later starts from what the page already knows; state lives in this closure because some
// hosts evaluate the module once for all models, others once per model.

import type { InitializeProps, RenderProps } from "@anywidget/types";
import { createStore, type Model, type Store } from "../model/store.js";
import { keepInPlaces } from "../view/places.js";
import { createTable } from "../view/table.js";
import "./table.css";

export default () => {
  let store: Store | null = null;
  return {
    initialize({ model, signal }: InitializeProps): void {
      const made = createStore(model as unknown as Model, signal);
      store = made;
      keepInPlaces(String(model.get("address")), (root, end) => createTable(root, made, end), signal);
    },
    render({ el, signal }: RenderProps): void {
      if (store === null) throw new Error("livedb: a table was drawn before its model was made");
      createTable(el.appendChild(document.createElement("div")), store, signal);
    },
  };
};
