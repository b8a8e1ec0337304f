"""The functions that the tests serve, as a notebook would define them."""

from __future__ import annotations

import logging

import livedb

BIG = "x" * 1000


def define(db):
    """Define tables and functions on `db`, under the names of a module `tasks`."""

    @db.table("tasks", indexes={"by_user": ["user"]})
    class Task:
        title: str
        user: str
        n: int = 0

    def query(function):
        return db.query(name=f"tasks:{function.__name__.rstrip('_')}")(function)

    def mutation(function):
        return db.mutation(name=f"tasks:{function.__name__.rstrip('_')}")(function)

    def action(function):
        return db.action(name=f"tasks:{function.__name__.rstrip('_')}")(function)

    @query
    def list_(ctx, user: str):
        return ctx.db.query("tasks").with_index("by_user", user=user).collect()

    @query
    def titles(ctx, user: str):
        rows = ctx.db.query("tasks").with_index("by_user", user=user)
        return [row.title for row in rows.collect()]

    @query
    def default(ctx):
        return "the default function"

    @query
    def echo(ctx, value):
        return value

    @query
    def page(ctx, paginationOpts):  # noqa: N803  # the wire's name
        return ctx.db.query("tasks").order("asc").paginate(paginationOpts)

    @query
    def me(ctx):
        identity = ctx.auth.get_user_identity()
        return None if identity is None else identity.subject

    @query
    def noisy(ctx):
        print("counting", ctx.db.count("tasks"))
        logging.getLogger("shop").warning("careful")
        return ctx.db.count("tasks")

    @query
    def missing(ctx, user: str):
        if ctx.db.query("tasks").with_index("by_user", user=user).first() is None:
            raise livedb.ApplicationError({"no": user})
        return "there"

    @query
    def crash(ctx):
        raise RuntimeError("a bug of the application")

    @query
    def big(ctx, kilobytes: int):
        return [BIG] * kilobytes

    @db.query(name="tasks:secret", internal=True)
    def secret(ctx):
        return "internal"

    @mutation
    def add(ctx, title: str, user: str, n: int = 0):
        return ctx.db.insert("tasks", {"title": title, "user": user, "n": n})

    @mutation
    def grow(ctx, user: str):
        """Add one to a counter that only exactly-once calls keep right."""
        row = ctx.db.query("tasks").with_index("by_user", user=user).first()
        if row is None:
            ctx.db.insert("tasks", {"title": "counter", "user": user, "n": 1})
            return 1
        ctx.db.patch(row["_id"], {"n": row.n + 1})
        return row.n + 1

    @mutation
    def whoami(ctx):
        identity = ctx.auth.get_user_identity()
        return None if identity is None else identity.subject

    @mutation
    def fail(ctx):
        print("about to fail")
        raise livedb.ApplicationError({"why": "because"})

    @mutation
    def break_(ctx):
        raise RuntimeError("a bug of the application")

    @action
    def work(ctx, user: str):
        print("working")
        ctx.run_mutation("tasks:add", title="by action", user=user)
        return len(ctx.run_query("tasks:list", user=user))

    @action
    async def work_async(ctx, user: str):
        return await ctx.run_query("tasks:titles", user=user)

    @action
    def big_action(ctx, kilobytes: int):
        return [BIG] * kilobytes

    @action
    def fail_action(ctx):
        raise livedb.ApplicationError({"why": "an action"})
