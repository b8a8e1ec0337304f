// The explorer of a workspace: drawn in every place of the page that is meant for it.

import type { InitializeProps, RenderProps } from "@anywidget/types";
import type { AskedModel } from "../model/asker.js";
import { createWorkspace, type Workspace } from "../model/explorer.js";
import { keepHearing } from "../model/hearing.js";
import { createExplorer } from "../view/explorer.js";
import { keepInPlaces } from "../view/places.js";
import { ensureStyle } from "../view/style.js";
import "./explorer.css";

export default () => {
  let workspace: Workspace | null = null;
  return {
    initialize({ model, signal }: InitializeProps): void {
      void keepHearing(model);
      const own = model as unknown as AskedModel;
      const made = createWorkspace(own, signal);
      workspace = made;
      const drawHere = (root: HTMLElement, end: AbortSignal): void => {
        createExplorer(root, made, end);
        ensureStyle(root, String(own.get("_css") ?? ""));
      };
      keepInPlaces(String(own.get("address")), drawHere, signal);
    },
    render({ el, signal }: RenderProps): void {
      if (workspace === null) throw new Error("livedb: an explorer was drawn before its model was made");
      createExplorer(el.appendChild(document.createElement("div")), workspace, signal);
    },
  };
};
