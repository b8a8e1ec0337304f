// A form: what the kernel describes, drawn in every place of the page that is meant for it. What was
// typed belongs to a view, so two places may hold two drafts.

import type { InitializeProps, RenderProps } from "@anywidget/types";
import type { AskedModel } from "../model/asker.js";
import { type Calls, createCalls, type Description } from "../model/form.js";
import { keepHearing } from "../model/hearing.js";
import { createForm } from "../view/form.js";
import { keepInPlaces } from "../view/places.js";
import { ensureStyle } from "../view/style.js";
import "./form.css";

export default () => {
  let calls: Calls | null = null;
  const draw = (root: HTMLElement, model: AskedModel, made: Calls, signal: AbortSignal): void => {
    const describe = (): Description => model.get("description") as Description;
    const { redraw } = createForm(root, describe, made, signal);
    model.on("change:description", redraw);
    signal.addEventListener("abort", () => model.off("change:description", redraw));
  };
  return {
    initialize({ model, signal }: InitializeProps): void {
      void keepHearing(model);
      const own = model as unknown as AskedModel;
      const made = createCalls(own, signal);
      calls = made;
      const drawHere = (root: HTMLElement, end: AbortSignal): void => {
        draw(root, own, made, end);
        ensureStyle(root, String(own.get("_css") ?? ""));
      };
      keepInPlaces(String(own.get("address")), drawHere, signal);
    },
    render({ model, el, signal }: RenderProps): void {
      if (calls === null) throw new Error("livedb: a form was drawn before its model was made");
      draw(el.appendChild(document.createElement("div")), model as unknown as AskedModel, calls, signal);
    },
  };
};
