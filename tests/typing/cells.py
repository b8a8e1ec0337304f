"""What users write, as DESIGN 1 shows it: mypy --strict and pyright find nothing wrong here."""

# pyright: strict

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, assert_type

from starlette.responses import Response, StreamingResponse

import livedb
from livedb import (
    UNSET,
    ActionContext,
    AsyncActionContext,
    AsyncHttpRequest,
    Handle,
    HttpRequest,
    Id,
    Int64,
    Missing,
    MutationContext,
    Query,
    QueryContext,
    v,
)

from livedb.ext.counters import Counter
from livedb.ext.migrations import migration
from livedb.ext.rate_limiter import Allowance, token_bucket

db = livedb.open()
sending = token_bucket("sending", rate=10, period=60)
likes = Counter("likes", shards=4)


@db.table("users")
class User:
    name: str
    age: int | None = None


@db.table("tasks", indexes={"by_user": ["user", "due"]}, unique={"by_title": ["title"]})
class Task:
    title: str
    user: Id[User]
    status: Literal["todo", "done"] = "todo"
    due: datetime | None = None
    note: str | Missing = UNSET
    parent: Id[Task] | None = None
    big: Int64 | None = None


@db.query
def open_tasks(ctx: QueryContext, user: Id[User], limit: int = 50) -> list[Task]:
    """Tasks of `user`, latest due first."""
    return ctx.db.query(Task).with_index("by_user", user=user).order("desc").take(limit)


@db.query
def find(ctx: QueryContext, key: Id[Task]) -> Task | None:
    task = ctx.db.get(key)
    assert_type(task, Task | None)
    return task


@db.mutation
def add_task(ctx: MutationContext, title: str, user: Id[User]) -> Id[Task]:
    key: Id[Task] = ctx.db.insert("tasks", {"title": title, "user": user, "due": ctx.now})
    ctx.db.patch(key, {"status": "done"})
    return key


@db.mutation(name="tasks:remove")
def remove(ctx: MutationContext, key: Id[Task]) -> None:
    ctx.db.delete(key)


@livedb.query
def everyone(ctx: QueryContext) -> list[User]:
    return ctx.db.query(User).collect()


@db.action
def greet(ctx: ActionContext, name: str, times: int = 1) -> str:
    ctx.run_mutation(remove, key=name)
    return f"{name} {ctx.env['GREETING']} {times}"


@db.action
async def greet_later(ctx: AsyncActionContext, name: str) -> str:
    found = await ctx.run_query("everyone")
    return f"{name} {found}"


@db.action(name="tasks:sweep", internal=True)
def sweep(ctx: ActionContext, days: int) -> int:
    return 0 if ctx.is_cancelled() else days + ctx.now.day


@db.mutation
def remind(ctx: MutationContext, key: Id[Task]) -> None:
    job = ctx.scheduler.run_after(60, remove, key=key)
    ctx.scheduler.run_at(datetime.now(UTC), "remove", {"key": key})
    ctx.scheduler.cancel(job)


@db.action
async def remind_later(ctx: AsyncActionContext) -> None:
    if not await ctx.is_cancelled():
        await ctx.scheduler.cancel(await ctx.scheduler.run_after(60, greet, name="Ada"))


db.crons.daily("greet", hour_utc=2, fn=greet, args={"name": "Ada"})
db.crons.interval("sweep", minutes=10, fn="tasks:sweep")
crons = livedb.cron_jobs()
crons.cron("greet", "0 9 * * 1", fn=greet, args={"name": "Ada"})


@db.http.route(path="/greet", method=["GET", "POST"])
async def answer(ctx: AsyncActionContext, request: AsyncHttpRequest) -> Response:
    name = await request.text()
    return livedb.json_response({"greeting": await ctx.run_action("greet", name=name)}, 201)


router = livedb.HttpRouter()


@livedb.http_action
def stream(ctx: ActionContext, request: HttpRequest) -> Response:
    return StreamingResponse(request.stream(), media_type=request.headers.get("content-type"))


router.route(path_prefix="/echo/", method="PUT", handler=stream)
assert_type(db.http.routes, list[str])

schema = livedb.define_schema(
    {
        "notes": livedb.define_table(
            {"text": v.string(), "tags": v.optional(v.array(v.string()))}
        ).index("by_text", ["text"], unique=True)
    }
)


def go(me: Id[User], task: Id[Task]) -> None:
    found = open_tasks(user=me)
    assert_type(found, list[Task])
    assert_type(found[0].title, str)
    assert_type(found[0].note, str | Missing)
    handle = open_tasks.live(me, limit=3).format(
        title=livedb.column.link(text="open", label="Title", pinned=True),
        due=livedb.column.date("%d.%m.%Y"),
    )
    assert_type(handle, Handle[list[Task]])
    assert_type(handle[0], Task)
    assert_type(handle[1:], list[Task])
    for each in handle:
        assert_type(each, Task)
    assert_type(handle.value[0].user, Id[User])
    assert_type(add_task("x", user=me), Id[Task])
    remove(key=task)
    one = find(task)
    if one is not None and one.status == "todo" and one.due is not None:
        assert one.due < datetime.now(UTC)
    rows: Any = db["tasks"].collect()
    assert rows is not None
    takes_query(open_tasks)
    assert_type(greet("Ada", times=2), str)
    assert_type(greet_later(name="Ada"), str)
    assert_type(sweep(days=2), int)


@db.mutation
def like(ctx: MutationContext, user: Id[User]) -> int:
    assert_type(sending.limit(ctx, user, reserve=True), Allowance)
    likes.add(ctx, key=user)
    return likes.count(ctx, key=user)


@db.mutation(internal=True)
@migration("tasks", batch_documents=10)
def tidy_titles(ctx: MutationContext, task: Task) -> dict[str, str] | None:
    assert_type(ctx.meta.get_snapshot_number(), int)
    return {"title": task.title.strip()}


def migrate() -> None:
    assert_type(like(user=Id("x")), int)
    tidy_titles(dry_run=True)
    tidy_titles()


def takes_query(query: Query[[Id[User], int], list[Task]]) -> None:
    query(Id("x"), 3)
