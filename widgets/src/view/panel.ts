// A panel between a table's title and its rows.

import { div } from "./footer.js";

/** Hidden until it is needed; `leave` is called when its reader presses Escape in it. */
export function createPanel(label: string, leave: () => void, signal: AbortSignal): HTMLElement {
  const panel = div("livedb-places");
  panel.hidden = true;
  panel.dataset["lmSuppressShortcuts"] = "true"; // JupyterLab: what is typed here is no command
  panel.setAttribute("role", "group");
  panel.setAttribute("aria-label", label);
  panel.addEventListener("keydown", (event) => {
    event.stopPropagation(); // neither the table's keys nor the notebook's
    if (event.key !== "Escape" || event.isComposing) return;
    event.preventDefault();
    leave();
  }, { signal });
  return panel;
}
