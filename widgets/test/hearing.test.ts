import { expect, test, vi } from "vitest";
import { keepHearing } from "../src/model/hearing.js";

/** What Jupyter's widgets have in common. */
class Common {
  readonly heard: unknown[] = [];
  readonly comm = { on_msg: vi.fn(), send: vi.fn() };
  async _handle_comm_msg(message: { content: { data: { method: string } } }): Promise<void> {
    if (message.content.data.method !== "none") this.heard.push(message);
  }
}

/** anywidget's model: nothing is heard before it is ready. */
class Gated extends Common {
  constructor(readonly ready: Promise<void>) {
    super();
  }
  override async _handle_comm_msg(message: { content: { data: { method: string } } }): Promise<void> {
    await this.ready;
    return super._handle_comm_msg(message);
  }
}

const given = (model: unknown) => ({
  get: (name: string) => `the ${name}`,
  widget_manager: { get_model: vi.fn(async () => model) },
});

test("a model that its host has given up on hears its kernel again, and what it missed", async () => {
  const model = new Gated(Promise.reject(new Error("it took too long")));
  const asked = given(model);
  await keepHearing(asked);
  expect(asked.widget_manager.get_model).toHaveBeenCalledWith("the address");
  expect(model.comm.send).toHaveBeenCalledWith({ method: "request_state" }, {});
  const message = { content: { data: { method: "custom" } } };
  await model.comm.on_msg.mock.lastCall?.[0](message);
  expect(model.heard).toEqual([message]);
});

test("a model that hears is left as it is", async () => {
  const model = new Gated(Promise.resolve());
  await keepHearing(given(model));
  expect(model.comm.on_msg).not.toHaveBeenCalled();
  expect(model.comm.send).not.toHaveBeenCalled();
});

test.each([{}, { widget_manager: {} }, given(undefined), given({ get: () => 1 }), given({ comm: {} })])(
  "hosts of another kind are let alone (%#)",
  async (host) => {
    await expect(keepHearing({ get: () => "", ...host })).resolves.toBeUndefined();
  },
);

test("a host that knows no such model is let alone", async () => {
  const widget_manager = { get_model: () => Promise.reject(new Error("there is none")) };
  await expect(keepHearing({ get: () => "", widget_manager })).resolves.toBeUndefined();
});
