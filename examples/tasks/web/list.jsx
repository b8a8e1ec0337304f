// The page of notebooks/05_convex_in_python.ipynb, which prints the link to it: the tasks of one
// user, as Convex's introduction shows them. `?service=http://host:port&user=<id of a user>`.

import { ConvexProvider, ConvexReactClient, useMutation, useQuery } from "convex/react";
import { anyApi as api } from "convex/server";
import { useState } from "react";
import { createRoot } from "react-dom/client";

const options = new URLSearchParams(location.search);
const client = new ConvexReactClient(options.get("service") ?? "http://127.0.0.1:3210");

function App({ userId }) {
  const tasks = useQuery(api.tasks.list, { userId });
  const create = useMutation(api.tasks.create);
  const complete = useMutation(api.tasks.complete);
  const [text, setText] = useState("");

  function submit(event) {
    event.preventDefault();
    setText("");
    create({ userId, text: text.trim() });
  }

  return (
    <>
      <h1>Tasks</h1>
      <form onSubmit={submit}>
        <input
          aria-label="New task"
          placeholder="What is to be done?"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <button disabled={text.trim() === ""}>Add</button>
      </form>
      {tasks === undefined && <p className="empty">Loading …</p>}
      {tasks?.length === 0 && <p className="empty">Nothing to do.</p>}
      {tasks?.length > 0 && (
        <section>
          <ul>
            {tasks.map((task) => (
              <li key={task._id} data-done={task.isCompleted}>
                <label>
                  <input
                    type="checkbox"
                    checked={task.isCompleted}
                    disabled={task.isCompleted}
                    onChange={() => complete({ taskId: task._id })}
                  />
                  <span className="title">{task.text}</span>
                </label>
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}

createRoot(document.getElementById("app")).render(
  <ConvexProvider client={client}>
    <App userId={options.get("user")} />
  </ConvexProvider>,
);
