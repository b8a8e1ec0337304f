// What the React hooks of the npm package do against a service, in a DOM without a browser. Run as
// a process; the last line that it prints is its report, as JSON.

import { Window } from "happy-dom";

const printed = [];
for (const level of ["log", "info", "warn", "error", "debug"]) {
  console[level] = (...parts) => printed.push(parts.map(String).join(" "));
}
const window = new Window({ url: "http://localhost/" });
Object.assign(globalThis, { window, document: window.document });

const { createElement } = await import("react");
const { flushSync } = await import("react-dom");
const { createRoot } = await import("react-dom/client");
const { ConvexProvider, ConvexReactClient, useAction, useMutation, usePaginatedQuery, useQuery } =
  await import("convex/react");
const { anyApi: api } = await import("convex/server");

async function until(condition) {
  for (let waited = 0; waited < 20_000; waited += 10) {
    const found = condition();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`waited in vain for ${condition}; printed: ${printed.join("\n")}`);
}

function show(url, component) {
  const client = new ConvexReactClient(url, { unsavedChangesWarning: false });
  const root = createRoot(document.body.appendChild(document.createElement("div")));
  root.render(createElement(ConvexProvider, { client }, createElement(component)));
  return client;
}

const scenarios = {
  // useQuery, useMutation with an optimistic update, useAction, "skip".
  async hooks(url) {
    const seen = [];
    const hands = {};
    show(url, () => {
      const titles = useQuery(api.tasks.titles, { user: "ada" });
      hands.skipped = useQuery(api.tasks.titles, "skip");
      hands.add = useMutation(api.tasks.add).withOptimisticUpdate((store, { title, user }) => {
        const current = store.getQuery(api.tasks.titles, { user }) ?? [];
        store.setQuery(api.tasks.titles, { user }, [...current, `${title}?`]);
      });
      hands.work = useAction(api.tasks.work);
      const shown = JSON.stringify(titles ?? "loading");
      if (seen.at(-1) !== shown) seen.push(shown);
      return null;
    });
    await until(() => seen.at(-1) === "[]");
    let added;
    // React draws when it has time, and the service may have answered by then: draw now.
    flushSync(() => {
      added = hands.add({ title: "one", user: "ada" });
    });
    await added;
    await until(() => seen.at(-1) === '["one"]');
    const done = await hands.work({ user: "ada" });
    await until(() => seen.at(-1) === '["one","by action"]');
    return { seen, done, skipped: hands.skipped === undefined };
  },

  // usePaginatedQuery: load more, rows that come and go, a split, and the end.
  async pages(url, count) {
    const hands = {};
    const statuses = [];
    const client = show(url, () => {
      hands.pages = usePaginatedQuery(api.tasks.page, {}, { initialNumItems: 2 });
      if (statuses.at(-1) !== hands.pages.status) statuses.push(hands.pages.status);
      return null;
    });
    await until(() => hands.pages?.status === "Exhausted");
    const add = (title) => client.mutation(api.tasks.add, { title, user: "ada" });
    // The first page was exhausted, so all that follows belongs to it: it grows, and is split.
    for (let n = 0; n < Number(count); n += 1) await add(`t${n}`);
    await until(() => hands.pages.results.length === Number(count));
    return { titles: hands.pages.results.map((row) => row.title), statuses };
  },

  async load_more(url) {
    const hands = {};
    const statuses = [];
    const client = show(url, () => {
      hands.pages = usePaginatedQuery(api.tasks.page, {}, { initialNumItems: 2 });
      if (statuses.at(-1) !== hands.pages.status) statuses.push(hands.pages.status);
      return null;
    });
    await until(() => hands.pages?.status === "CanLoadMore");
    const first = hands.pages.results.map((row) => row.title);
    hands.pages.loadMore(2);
    await until(() => hands.pages.results.length === 4);
    hands.pages.loadMore(5);
    await until(() => hands.pages.status === "Exhausted");
    await client.mutation(api.tasks.add, { title: "late", user: "ada" });
    await until(() => hands.pages.results.length === 6);
    return { first, all: hands.pages.results.map((row) => row.title), statuses };
  },

  // usePaginatedQuery while mutations commit: everything that it ever showed, up to
  // the list that is expected at the end.
  async churn(url, steps, expected) {
    const hands = {};
    const shown = [];
    const client = show(url, () => {
      hands.pages = usePaginatedQuery(api.churned.page, {}, { initialNumItems: 3 });
      shown.push(hands.pages.results.map((row) => row.title));
      return null;
    });
    // Whoever scrolls asks for more as soon as there is more.
    const scroll = () => hands.pages?.status === "CanLoadMore" && hands.pages.loadMore(2);
    await until(() => hands.pages?.results.length > 0);
    for (let step = 0; step < Number(steps); step += 1) {
      scroll();
      await client.mutation(api.churned.step, { step });
    }
    await until(() => {
      scroll();
      return hands.pages.status === "Exhausted" && JSON.stringify(shown.at(-1)) === expected;
    });
    return shown;
  },
};

const [name, ...args] = process.argv.slice(2);
process.on("uncaughtException", (error) => {
  process.stderr.write(`${error.stack}\n${printed.join("\n")}\n`);
  process.exit(1);
});
const report = await scenarios[name](...args);
process.stdout.write(`\n${JSON.stringify(report)}\n`, () => process.exit(0));
