// What Convex's npm clients do against a service. Run as a process; the last line that it prints is
// its report, as JSON.

import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import { ConvexError } from "convex/values";

const printed = [];
for (const level of ["log", "info", "warn", "error", "debug"]) {
  console[level] = (...parts) => printed.push(parts.map(String).join(" "));
}

const open = [];
function connect(url, options = {}) {
  const client = new ConvexClient(url, options);
  open.push(client);
  return client;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition, what = String(condition)) {
  for (let waited = 0; waited < 20_000; waited += 10) {
    const found = condition();
    if (found) return found;
    await sleep(10);
  }
  throw new Error(`waited in vain for ${what}; printed: ${printed.join("\n")}`);
}

async function raised(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    const data = error instanceof ConvexError ? error.data : null;
    return [error instanceof ConvexError ? "ConvexError" : "Error", String(error.message), data];
  }
}

// A client whose sockets, and what it says by them, can be looked at.
function watched(url, options = {}) {
  const sockets = [];
  const said = [];
  class Watched extends WebSocket {
    constructor(address) {
      super(address);
      sockets.push(this);
    }

    send(text) {
      said.push(JSON.parse(text));
      super.send(text);
    }
  }
  const client = connect(url, { webSocketConstructor: Watched, ...options });
  const kinds = () => said.map((message) => message.type);
  return { client, sockets, said, kinds };
}

const titles = (list) => list.map((row) => row.title);
const api = anyApi;

const scenarios = {
  // Follow, write, read one's own write, act.
  async basics(url) {
    const client = connect(url);
    const seen = [];
    client.onUpdate(api.tasks.titles, { user: "ada" }, (value) => seen.push(value));
    await until(() => seen.length === 1);
    await client.mutation(api.tasks.add, { title: "one", user: "ada", n: 3 });
    // The promise resolves when the write is in what the client shows.
    const own = seen.at(-1);
    const done = await client.action(api.tasks.work, { user: "ada" });
    await until(() => seen.at(-1).length === 2);
    const rows = await client.query(api.tasks.list, { user: "ada" });
    return {
      seen,
      own,
      done,
      async: await client.action("tasks:work_async", { user: "ada" }),
      rows: rows.map((row) => [row.title, row.n, Object.keys(row).sort()]),
      paths: [
        await client.query("tasks", {}),
        await client.query("tasks.js:default", {}),
        await client.action("tasks.js:work", { user: "b" }),
      ],
    };
  },

  // Upload by fetch, as apps do, and keep the id with a mutation.
  async files(url) {
    const client = connect(url);
    const listed = [];
    client.onUpdate(api.files.list, {}, (value) => listed.push(value));
    await until(() => listed.length === 1);
    const postUrl = await client.mutation(api.files.generateUploadUrl, {});
    const body = new Blob(["pixels"], { type: "image/png" });
    const answer = await fetch(postUrl, {
      method: "POST",
      headers: { "Content-Type": body.type },
      body,
    });
    const { storageId } = await answer.json();
    await client.mutation(api.files.save, { storageId, name: "photo" });
    await until(() => listed.length === 2);
    const fetched = await fetch(listed[1][0].url);
    const http = new ConvexHttpClient(url);
    const metadata = await http.query(api.files.metadata, { storageId });
    const made = await client.action(api.files.make, { text: "by an action" });
    const text = await fetch(await http.query(api.files.url, { storageId: made }));
    const report = {
      fetched: [fetched.headers.get("content-type"), await fetched.text()],
      metadata: Object.keys(metadata).sort(),
      size: metadata.size,
      made: await text.text(),
    };
    await client.mutation(api.files.remove, { storageId });
    await until(() => listed.length === 3);
    const gone = await fetch(listed[1][0].url);
    return {
      ...report,
      listed: listed.slice(0, 2).map((rows) => rows.map((row) => row.name)),
      after: [listed[2][0].url, gone.status],
    };
  },

  // Behind a Jupyter server: its token goes into the socket's URL, and over HTTP into setAuth.
  async behind_a_login(url, token) {
    class WithLogin extends WebSocket {
      constructor(address) {
        super(`${address}?token=${token}`);
      }
    }
    const client = connect(url, { webSocketConstructor: WithLogin });
    const seen = [];
    client.onUpdate(api.tasks.titles, { user: "ada" }, (value) => seen.push(value));
    await until(() => seen.length === 1);
    await client.mutation(api.tasks.add, { title: "one", user: "ada" });
    await until(() => seen.length === 2);
    const shown = [...seen];
    const http = new ConvexHttpClient(url);
    http.setAuth(token);
    await http.mutation(api.tasks.add, { title: "two", user: "ada" });
    return {
      seen: shown,
      http: await http.query(api.tasks.titles, { user: "ada" }),
      me: await client.query(api.tasks.me, {}),
    };
  },

  async values(url) {
    const values = [
      null, true, "text\u0000\u{1f600}", 1.5, 3, -0, NaN, Infinity, -Infinity, 5e-324,
      [1, [2]], { "a b.1": { "": 1 } }, 2n ** 62n, -1n, new Uint8Array([0, 255]).buffer,
    ];
    const shown = (value) =>
      value instanceof ArrayBuffer ? `bytes ${new Uint8Array(value)}`
      : typeof value === "bigint" ? `${value}n`
      : Object.is(value, -0) ? "-0"
      : typeof value === "number" ? String(value)
      : JSON.stringify(value);
    const wrong = [];
    for (const client of [connect(url), new ConvexHttpClient(url)]) {
      for (const value of values) {
        const back = await client.query(api.tasks.echo, { value, left_out: undefined });
        if (shown(back) !== shown(value)) wrong.push([shown(value), shown(back)]);
      }
    }
    return wrong;
  },

  async errors(url) {
    const client = connect(url);
    const http = new ConvexHttpClient(url);
    return {
      application: await raised(client.mutation(api.tasks.fail, {})),
      "application query": await raised(client.query(api.tasks.missing, { user: "nobody" })),
      "application action": await raised(client.action(api.tasks.fail_action, {})),
      bug: await raised(client.mutation("tasks:break", {})),
      unknown: await raised(client.mutation(api.tasks.nope, {})),
      arguments: await raised(client.query(api.tasks.list, { user: 3 })),
      internal: await raised(client.query(api.tasks.secret, {})),
      "http application": await raised(http.mutation(api.tasks.fail, {})),
      "http bug": await raised(http.query(api.tasks.crash, {})),
      after: await client.query("tasks", {}),
    };
  },

  // What functions print reaches the client's console, each line with its level.
  async logs(url) {
    const client = connect(url);
    await client.query(api.tasks.noisy, {});
    await raised(client.mutation(api.tasks.fail, {}));
    await client.action(api.tasks.work, { user: "ada" });
    return printed;
  },

  async http(url) {
    const client = new ConvexHttpClient(url);
    await client.mutation(api.tasks.add, { title: "one", user: "ada", n: 2 });
    const consistent = titles(await client.consistentQuery(api.tasks.list, { user: "ada" }));
    const both = Promise.all([
      client.mutation(api.tasks.grow, { user: "b" }),
      client.mutation(api.tasks.grow, { user: "b" }),
    ]);
    return {
      rows: titles(await client.query(api.tasks.list, { user: "ada" })),
      consistent,
      grown: await both,
      still: titles(await client.consistentQuery(api.tasks.list, { user: "b" })),
      done: await client.action(api.tasks.work, { user: "ada" }),
      function: await client.function(api.tasks.titles, undefined, { user: "ada" }),
    };
  },

  async http_auth(url, token) {
    const client = new ConvexHttpClient(url);
    const before = await client.query(api.tasks.me, {});
    client.setAuth(token);
    const during = await client.query(api.tasks.me, {});
    client.setAuth("no token");
    return [before, during, await raised(client.query(api.tasks.me, {}))];
  },

  // Paths of the URL, as people write them.
  async urls(url) {
    const found = [];
    for (const each of [url, `${url}/`, url.replace("127.0.0.1", "localhost")]) {
      found.push(await connect(each).query("tasks", {}));
      found.push(await new ConvexHttpClient(each).query("tasks", {}));
    }
    return found;
  },

  async auth(url, token, other) {
    const client = connect(url);
    const changes = [];
    const seen = [];
    client.onUpdate(api.tasks.me, {}, (value) => seen.push(value));
    await until(() => seen.length === 1);
    client.setAuth(async () => token, (isSignedIn) => changes.push(isSignedIn));
    await until(() => seen.at(-1) === "ada");
    const mutated = await client.mutation(api.tasks.whoami, {});
    client.setAuth(async () => other, (isSignedIn) => changes.push(isSignedIn));
    await until(() => seen.at(-1) === "bob");
    return { seen, changes, mutated };
  },

  // setAuth is confirmed although nothing is followed.
  async auth_alone(url, token) {
    const client = connect(url);
    const changes = [];
    client.setAuth(async () => token, (isSignedIn) => changes.push(isSignedIn));
    await until(() => changes.length > 0);
    return changes;
  },

  // A token that is refused: the client fetches another by force, and comes again.
  async auth_refused(url, stale, token) {
    const client = connect(url);
    const asked = [];
    const changes = [];
    client.setAuth(
      async ({ forceRefreshToken }) => {
        asked.push(forceRefreshToken);
        return forceRefreshToken ? token : stale;
      },
      (isSignedIn) => changes.push(isSignedIn),
    );
    await until(() => changes.length > 0);
    return { asked, changes, me: await client.query(api.tasks.me, {}) };
  },

  // No token is ever good: the client goes on as nobody.
  async auth_hopeless(url, stale) {
    const client = connect(url);
    const changes = [];
    client.setAuth(async () => stale, (isSignedIn) => changes.push(isSignedIn));
    await until(() => changes.length > 0);
    return { changes, me: await client.query(api.tasks.me, {}) };
  },

  // The identity expires while a mutation is sent: it runs once, as who was asked for, afterwards.
  async auth_expires(url, short, long, wait_ms) {
    const client = connect(url);
    let current = short;
    const changes = [];
    client.setAuth(async () => current, (isSignedIn) => changes.push(isSignedIn));
    await until(() => changes.length > 0);
    current = long;
    await sleep(Number(wait_ms));
    return [await client.mutation(api.tasks.whoami, {}), await client.query(api.tasks.me, {})];
  },

  async admin(url, key) {
    const client = connect(url);
    client.client.setAdminAuth(key);
    return client.query(api.tasks.secret, {});
  },

  // A result that arrives in chunks.
  async big(url, kilobytes) {
    const client = connect(url);
    const rows = await client.query(api.tasks.big, { kilobytes: Number(kilobytes) });
    return [rows.length, await client.query("tasks", {}), printed];
  },

  // Reads its own writes through a relay that cuts the connection; every call settles.
  async cut(url, count) {
    const client = connect(url);
    const seen = [];
    client.onUpdate(api.tasks.list, { user: "ada" }, (rows) => seen.push(rows[0]?.n ?? 0));
    const results = [];
    for (let at = 0; at < Number(count); at += 1) {
      results.push(await client.mutation(api.tasks.grow, { user: "ada" }));
    }
    return { results, seen };
  },

  async optimistic(url) {
    const client = connect(url);
    const seen = [];
    client.onUpdate(api.tasks.titles, { user: "ada" }, (value) => seen.push(value));
    await until(() => seen.length === 1);
    const optimisticUpdate = (store) => {
      const current = store.getQuery(api.tasks.titles, { user: "ada" }) ?? [];
      store.setQuery(api.tasks.titles, { user: "ada" }, [...current, "soon"]);
    };
    await client.mutation(api.tasks.add, { title: "one", user: "ada" }, { optimisticUpdate });
    const failed = client.mutation(api.tasks.fail, {}, { optimisticUpdate });
    await raised(failed);
    await client.query("tasks", {});
    return seen;
  },

  // The connection is lost while an action is under way, and a mutation waits behind it.
  async lost_action(url) {
    const { client, sockets, said } = watched(url);
    const action = raised(client.action("tasks:linger", {}));
    await until(() => said.some((message) => message.type === "Action"));
    await client.query("tasks", {});
    sockets.at(-1).close();
    const added = client.mutation(api.tasks.add, { title: "one", user: "ada" });
    const outcome = await action;
    await added;
    return {
      outcome,
      actions: said.filter((message) => message.type === "Action").length,
      sessions: new Set(said.filter((each) => each.type === "Connect").map((each) => each.sessionId)).size,
      connections: sockets.length,
    };
  },

  // A token that is always the same is sent once; nothing is asked before it where one is expected.
  async auth_static(url, token) {
    const { client, kinds } = watched(url, { expectAuth: true });
    const seen = [];
    client.onUpdate(api.tasks.me, {}, (value) => seen.push(value));
    const changes = [];
    let before = null;
    const fetchToken = async () => {
      await sleep(300);
      before ??= kinds();
      return token;
    };
    client.setAuth(fetchToken, (isSignedIn) => changes.push(isSignedIn));
    await until(() => seen.length > 0 && changes.length > 0);
    await client.query("tasks", {});
    await sleep(300);
    const sent = kinds().filter((kind) => kind === "Authenticate").length;
    return { before, seen, changes, sent };
  },

  // What breaks the protocol ends a client for good: it does not come again.
  async fatal(url) {
    const { client, sockets } = watched(url);
    await client.query("tasks", {});
    const uncaught = [];
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => uncaught.push(String(error.message)));
    let settled = 0;
    const pending = client.query("tasks:titles", { user: "ada" });
    pending.then(() => (settled += 1), () => (settled += 1));
    WebSocket.prototype.send.call(sockets.at(-1), "{");
    await until(() => sockets.at(-1).readyState === WebSocket.CLOSED);
    await sleep(1_500);
    return { uncaught, connections: sockets.length };
  },

  // Mutations of the HTTP client go one by one, unless it is told otherwise.
  async http_queue(url) {
    let [running, most] = [0, 0];
    const counting = async (...args) => {
      running += 1;
      most = Math.max(most, running);
      try {
        return await fetch(...args);
      } finally {
        running -= 1;
      }
    };
    const client = new ConvexHttpClient(url, { fetch: counting });
    const add = (n, options) => client.mutation(api.tasks.add, { title: `t${n}`, user: "ada" }, options);
    await Promise.all([0, 1, 2, 3].map((n) => add(n)));
    const queued = most;
    await Promise.all([4, 5, 6, 7].map((n) => add(n, { skipQueue: true })));
    return { queued, skipping: most, titles: await client.query(api.tasks.titles, { user: "ada" }) };
  },

  // Pages that the client itself keeps together.
  async paginated_updates(url) {
    const client = connect(url);
    for (let n = 0; n < 5; n += 1) {
      await client.mutation(api.tasks.add, { title: `t${n}`, user: "ada" });
    }
    const seen = [];
    client.onPaginatedUpdate_experimental(
      api.tasks.page, {}, { initialNumItems: 2 }, (result) => seen.push(result),
    );
    const shown = () => titles(seen.at(-1)?.results ?? []);
    await until(() => shown().length === 2 && seen.at(-1).status === "CanLoadMore");
    const first = shown();
    seen.at(-1).loadMore(2);
    await until(() => shown().length === 4);
    const second = shown();
    seen.at(-1).loadMore(2);
    await until(() => seen.at(-1).status === "Exhausted");
    const all = shown();
    await client.mutation(api.tasks.add, { title: "new", user: "ada" });
    await until(() => shown().includes("new"));
    return { first, second, all, grown: [...shown()].sort() };
  },

  // Pages: they neither gap nor overlap while rows come and go, and keep their ends.
  async pages(url) {
    const client = connect(url);
    for (let n = 0; n < 5; n += 1) {
      await client.mutation(api.tasks.add, { title: `t${n}`, user: "ada" });
    }
    const first = [];
    const options = { numItems: 2, cursor: null };
    client.onUpdate(api.tasks.page, { paginationOpts: options }, (page) => first.push(page));
    const one = await until(() => first.at(-1));
    const second = [];
    const next = { numItems: 2, cursor: one.continueCursor };
    client.onUpdate(api.tasks.page, { paginationOpts: next }, (page) => second.push(page));
    await until(() => second.at(-1));
    const last = await client.query(api.tasks.page, {
      paginationOpts: { numItems: 9, cursor: second.at(-1).continueCursor },
    });
    const bounded = await client.query(api.tasks.page, {
      paginationOpts: { numItems: 1, cursor: null, endCursor: second.at(-1).continueCursor },
    });
    return {
      pages: [first, second].map((pages) => titles(pages.at(-1).page)),
      last: [titles(last.page), last.isDone, typeof last.continueCursor],
      bounded: titles(bounded.page),
      bad: await raised(client.query(api.tasks.page, { paginationOpts: { numItems: 2, cursor: "x" } })),
    };
  },
};

const [name, ...args] = process.argv.slice(2);
process.on("uncaughtException", (error) => {
  process.stderr.write(`${error.stack}\n${printed.join("\n")}\n`);
  process.exit(1);
});
const report = await scenarios[name](...args);
process.stdout.write(`\n${JSON.stringify(report)}\n`, () => process.exit(0));
