"""Functions and tables with every type, for what is generated from them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import livedb
from livedb import UNSET, Id, Int64, Missing, v


def define(db):
    """Define them on `db`."""

    @db.table("users")
    class User:
        name: str
        role: Literal["admin", "guest"] = "guest"
        items: list[str] | Missing = UNSET
        address: dict[str, str] | None = None

    @db.table("tasks", indexes={"by_user": ["user", "due"]})
    class Task:
        user: Id[User]
        title: str
        due: datetime | None = None
        size: Int64 | float
        picture: bytes | Missing = UNSET

    db.push(
        livedb.define_schema(
            {
                "places": livedb.define_table(
                    v.union(
                        v.object({"kind": v.literal("point"), "at": v.object({"x": v.number()})}),
                        v.object({"kind": v.literal("area"), "unit price": v.number()}),
                    )
                ),
                "anything": livedb.define_table(v.any()),
            }
        )
    )

    @db.query(name="tasks:list")
    def list_tasks(
        ctx,
        user: Id[User],
        limit: int = 10,
        done: bool | Missing = UNSET,  # noqa: FBT001  # named on the wire
    ) -> list[Task]:
        return []

    @db.query(name="tasks:page")
    def page(ctx, paginationOpts: dict[str, Any]) -> Any:  # noqa: N803  # the wire's name
        return None

    @db.mutation(name="tasks:create")
    def create(ctx, title: str, from_: datetime, tags: dict[str, int]) -> Id[Task]:
        raise NotImplementedError

    @db.mutation(name="tasks/deep:create", internal=True)
    def create_deep(ctx) -> None:
        pass

    @db.action(
        name="tasks/deep:work",
        args={
            "what": v.union(v.literal("a\"'\\\n"), v.literal(1.5), v.literal(Int64(7)), v.null())
        },
        returns=v.object({"ok": v.boolean(), "class": v.optional(v.array(v.bytes()))}),
    )
    def work(ctx, what):
        return {"ok": True}

    @db.query(name="tasks:deep")
    def deep(ctx) -> int:
        """A function of the name of a module."""
        return 1

    @db.query
    def bare(ctx, value=None):
        return value

    @db.query(name="odd names:a-b")
    def odd(ctx) -> Literal["x", "y"]:
        return "x"
