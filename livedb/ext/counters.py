"""Counters that many mutations raise at once.

    from livedb.ext import counters

    db.push(counters)                           # or schema.py: {**counters.TABLES, ...}
    likes = counters.Counter("likes", shards=16)

    @db.mutation
    def like(ctx, post: Id[Post]):
        likes.add(ctx, key=post)

    @db.query
    def likes_of(ctx, post: Id[Post]) -> int:
        return likes.count(ctx, key=post)

A number in one document makes every two mutations that raise it conflict, and one of them run
again. Here it is the sum of some documents, of which each mutation takes one by chance: two of them
conflict once in `shards` times. The sum is exact at every commit. How many documents a *table* has
needs no counter: `ctx.db.count(table)`.

Source: the behaviour of Convex's component `sharded-counter`.
"""

from __future__ import annotations

from typing import NamedTuple

from livedb.errors import InvalidValueError
from livedb.functions.context import MutationContext, QueryContext
from livedb.schema.namespace import v
from livedb.schema.tables import define_schema, define_table
from livedb.values import whole

TABLE = "counters"

TABLES = {
    TABLE: define_table(
        {"name": v.string(), "key": v.string(), "shard": v.integer(), "value": v.integer()}
    ).index("by_shard", ["name", "key", "shard"], unique=True)
}
"""For a `schema.py`: `define_schema({**counters.TABLES, ...})`."""

schema = define_schema(TABLES)

SHARDS = 16
"""Documents of a counter: of 320 mutations of eight threads that begin together, 40 run again with
one, 5 with 16, and 2 with 64."""


class Counter(NamedTuple):
    """A whole number for each key.

    Attributes:
        name: under which it is kept.
        shards: in how many documents; may be changed at any time.
    """

    name: str
    shards: int = SHARDS

    def add(self, ctx: MutationContext, count: int = 1, *, key: str = "") -> None:
        """Add `count`, which may be negative. Cost: one document read and written.

        Raises:
            InvalidValueError: the counter's name or `key` is no text, `count` no whole number, or
                `shards` not above 0.
        """
        number = whole(count)
        if number is None:
            raise InvalidValueError(f"{self.name!r} counts whole numbers, and not {count!r}")
        if type(self.name) is not str or not self.name:
            raise InvalidValueError(f"A counter has a text for a name, not {self.name!r}")
        if type(self.shards) is not int or self.shards < 1:
            raise InvalidValueError(
                f"shards of {self.name!r} must be a whole number above 0, not {self.shards!r}"
            )
        shard = ctx.random.randrange(self.shards)
        _check_key(self.name, key)
        rows = ctx.db.query(TABLE).with_index("by_shard", name=self.name, key=key, shard=shard)
        row = rows.unique()
        if row is None:
            where = {"name": self.name, "key": key, "shard": shard}
            ctx.db.insert(TABLE, {**where, "value": number})
        else:
            ctx.db.patch(row["_id"], {"value": row["value"] + number})

    def count(self, ctx: QueryContext | MutationContext, *, key: str = "") -> int:
        """The sum. Cost: all its documents; a mutation that asks conflicts with all that add."""
        _check_key(self.name, key)
        rows = ctx.db.query(TABLE).with_index("by_shard", name=self.name, key=key)
        return sum(row["value"] for row in rows.collect())

    def reset(self, ctx: MutationContext, *, key: str = "") -> None:
        """Begin at 0 again."""
        _check_key(self.name, key)
        for row in ctx.db.query(TABLE).with_index("by_shard", name=self.name, key=key).collect():
            ctx.db.delete(row["_id"])


def _check_key(name: str, key: object) -> None:
    if not isinstance(key, str):
        raise InvalidValueError(
            f"{name!r} has a number for each key, which is a text, not {key!r}; without a key "
            "there is one for all"
        )
