// anywidget's front end lets a model hear its kernel once it has been made, and gives up on one that takes more
// than two seconds for it: from then on the model is deaf, whatever it does later. A page that opens a notebook
// of fifty tables on a slow machine takes longer. Then the model's comm is led past that gate.

/** What of the host's model is needed; other hosts than Jupyter's have others. */
interface HostModel {
  comm: {
    on_msg(hear: (message: unknown) => unknown): void;
    send(data: unknown, callbacks: object): unknown;
  };
  _handle_comm_msg(message: unknown): Promise<unknown>;
}

/** What a widget is given of it. */
export interface Listening {
  get(name: string): unknown;
  widget_manager?: { get_model?(id: string): Promise<unknown> };
}

/** A message that every model takes and none heeds. */
const NOTHING = { content: { data: { method: "none" } } };

/** Have a model hear its kernel, however long it takes to be made; with it comes what it has missed. */
export async function keepHearing(given: Listening): Promise<void> {
  const model = await given.widget_manager?.get_model?.(String(given.get("address"))).catch(() => null);
  if (!isHostModel(model)) return;
  try {
    await model._handle_comm_msg(NOTHING);
  } catch {
    // Behind anywidget's gate is the class that Jupyter's widgets have in common.
    const common = Object.getPrototypeOf(Object.getPrototypeOf(model)) as HostModel;
    model.comm.on_msg((message) => common._handle_comm_msg.call(model, message));
    model.comm.send({ method: "request_state" }, {});
  }
}

const isHostModel = (model: unknown): model is HostModel => {
  const { comm, _handle_comm_msg } = (model ?? {}) as Partial<HostModel>;
  return typeof comm?.on_msg === "function" && typeof _handle_comm_msg === "function";
};
