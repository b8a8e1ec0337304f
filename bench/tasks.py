"""The documents that are measured: tasks of six fields, one index, and the functions on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import livedb
from livedb import MutationContext, QueryContext

FIELDS = ("title", "user", "status", "due", "n", "note")
TASKS_PER_USER = 100


class Task:
    """A document of six fields."""

    title: str
    user: str
    status: str
    due: float
    n: int
    note: str


@dataclass(frozen=True, slots=True)
class Tasks:
    """An open workspace with a table of tasks and functions on it."""

    db: Any
    one: Any
    bump: Any
    read_many: Any
    read_ranges: Any

    def ids(self, count: int) -> list[str]:
        """Ids of the first `count` tasks."""
        query = f"select _id from tasks order by n limit {count}"
        return self.db.sql(query).to_arrow()["_id"].to_pylist()


def task(number: int) -> dict[str, Any]:
    return {
        "title": f"write the docs {number}",
        "user": f"u{number // TASKS_PER_USER}",
        "status": "todo" if number % 2 else "done",
        "due": number + 0.5,
        "n": number,
        "note": "",
    }


def task_table(count: int) -> pa.Table:
    """The same tasks as columns."""
    numbers = range(count)
    return pa.table(
        {
            "title": [f"write the docs {number}" for number in numbers],
            "user": [f"u{number // TASKS_PER_USER}" for number in numbers],
            "status": ["todo" if number % 2 else "done" for number in numbers],
            "due": [number + 0.5 for number in numbers],
            "n": pa.array(numbers, pa.int64()),
            "note": [""] * count,
        }
    )


def open_tasks(path: Path | None, count: int, **options: Any) -> Tasks:
    """A workspace (None: in memory) that holds `count` tasks."""
    tasks = define_tasks(livedb.open(path, **options))
    if count:
        tasks.db.load("tasks", task_table(count))
    return tasks


def define_tasks(db: Any) -> Tasks:
    """Define the table and the functions in an open workspace."""
    db.table("tasks", indexes={"by_user": ["user", "due"]})(Task)

    @db.query
    def one(ctx: QueryContext, id: str) -> Any:  # noqa: A002  as users name it
        return ctx.db.get("tasks", id)

    @db.mutation
    def bump(ctx: MutationContext, id: str) -> int:  # noqa: A002
        n = ctx.db.get("tasks", id)["n"] + 1
        ctx.db.patch("tasks", id, {"n": n})
        return n

    @db.query
    def read_many(ctx: QueryContext, ids: list[str]) -> int:
        get = ctx.db.get
        return sum(get("tasks", each) is not None for each in ids)

    @db.query
    def read_ranges(ctx: QueryContext, users: list[str]) -> int:
        read: Callable[[str], list[Any]] = lambda user: (  # noqa: E731  the line that is measured
            ctx.db.query("tasks").with_index("by_user", user=user).take(TASKS_PER_USER)
        )
        return sum(len(read(user)) for user in users)

    return Tasks(db, one, bump, read_many, read_ranges)
