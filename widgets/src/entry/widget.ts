// What every model carries: enough to find its own module, which a page evaluates once for all models
// that have the same one. A host imports this text anew for each model, and a page never lets go of a
// module that it has imported.

import type { InitializeProps, RenderProps } from "@anywidget/types";
import { loadPart } from "../model/parts.js";

/** A widget's own module, entry/table.ts for one. */
interface Module {
  default: () => Widget;
}

interface Widget {
  initialize(props: InitializeProps): void | Promise<void>;
  render(props: RenderProps): void | Promise<void>;
}

export default () => {
  let widget: Promise<Widget>;
  return {
    async initialize(props: InitializeProps): Promise<void> {
      const text = String(props.model.get("module"));
      widget = loadPart<Module>(text, async () => text).then((module) => module.default());
      const made = await widget;
      if (!props.signal.aborted) await made.initialize(props);
    },
    async render(props: RenderProps): Promise<void> {
      await (await widget).render(props);
    },
  };
};
