// The page of the example: Convex's own React hooks, unchanged, on a livedb service.
// `?service=http://host:port` names another service, `?name=Ana` who adds tasks here.

import {
  ConvexProvider,
  ConvexReactClient,
  insertAtTop,
  optimisticallyUpdateValueInPaginatedQuery,
  useConvexConnectionState,
  useMutation,
  usePaginatedQuery,
  useQuery,
} from "convex/react";
import { anyApi as api } from "convex/server";
import { useState } from "react";
import { createRoot } from "react-dom/client";

const options = new URLSearchParams(location.search);
const client = new ConvexReactClient(options.get("service") ?? "http://127.0.0.1:3210");
const me = options.get("name") ?? "somebody";
const PAGE = 8;

// An optimistic update shows at once what a mutation will do. It is taken back in the moment in
// which the service's own result arrives, or when the mutation is refused.

function addAtOnce(store, { title, author }) {
  const item = { _id: `sending-${crypto.randomUUID()}`, title, author, done: false };
  insertAtTop({ paginatedQuery: api.tasks.feed, localQueryStore: store, item });
  count(store, { open: 1, done: 0 });
}

function toggleAtOnce(store, { task }) {
  let change = 0;
  optimisticallyUpdateValueInPaginatedQuery(store, api.tasks.feed, {}, (each) => {
    if (each._id !== task) return each;
    change = each.done ? -1 : 1;
    return { ...each, done: !each.done };
  });
  count(store, { open: -change, done: change });
}

function count(store, change) {
  const known = store.getQuery(api.tasks.summary, {});
  if (known === undefined) return;
  const counted = { open: known.open + change.open, done: known.done + change.done };
  store.setQuery(api.tasks.summary, {}, counted);
}

function App() {
  return (
    <>
      <header>
        <h1>Tasks</h1>
        <Connection />
      </header>
      <AddTask />
      <Feed />
    </>
  );
}

function Connection() {
  const { isWebSocketConnected, hasEverConnected } = useConvexConnectionState();
  const state = isWebSocketConnected ? "live" : hasEverConnected ? "reconnecting" : "connecting";
  return (
    <p className="connection" data-state={state} role="status">
      {state}
    </p>
  );
}

function AddTask() {
  const [title, setTitle] = useState("");
  const [refusal, setRefusal] = useState("");
  const add = useMutation(api.tasks.add).withOptimisticUpdate(addAtOnce);

  function submit(event) {
    event.preventDefault();
    if (title.trim() === "") return;
    setTitle("");
    setRefusal("");
    add({ title, author: me }).catch((error) => setRefusal(error.data ?? error.message));
  }

  return (
    <form onSubmit={submit}>
      <input
        aria-label="New task"
        placeholder="What is to be done?"
        value={title}
        onChange={(event) => setTitle(event.target.value)}
      />
      <button disabled={title.trim() === ""}>Add</button>
      {refusal && <p role="alert">{refusal}</p>}
    </form>
  );
}

function Feed() {
  const { results, status, loadMore } = usePaginatedQuery(
    api.tasks.feed,
    {},
    { initialNumItems: PAGE },
  );
  if (status === "LoadingFirstPage") return <p className="empty">Loading …</p>;
  if (results.length === 0) return <p className="empty">Nothing to do. Add the first task.</p>;
  return (
    <section>
      <ul>
        {results.map((task) => (
          <Task key={task._id} task={task} />
        ))}
      </ul>
      <footer>
        <Summary />
        {status === "CanLoadMore" && <button onClick={() => loadMore(PAGE)}>Show more</button>}
        {status === "LoadingMore" && <span>Loading …</span>}
      </footer>
    </section>
  );
}

function Task({ task }) {
  const toggle = useMutation(api.tasks.toggle).withOptimisticUpdate(toggleAtOnce);
  const isSending = task._id.startsWith("sending-");
  return (
    <li data-done={task.done} data-sending={isSending}>
      <label>
        <input
          type="checkbox"
          checked={task.done}
          disabled={isSending}
          onChange={() => toggle({ task: task._id })}
        />
        <span className="title">{task.title}</span>
      </label>
      <span className="author">{isSending ? "sending" : task.author}</span>
    </li>
  );
}

function Summary() {
  const summary = useQuery(api.tasks.summary);
  if (summary === undefined) return <span />;
  return (
    <span className="summary">
      {summary.open} open · {summary.done} done
    </span>
  );
}

createRoot(document.getElementById("app")).render(
  <ConvexProvider client={client}>
    <App />
  </ConvexProvider>,
);
