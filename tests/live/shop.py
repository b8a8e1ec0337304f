"""The shop whose live results are looked at."""

from __future__ import annotations


def define(db):
    """A table of items and two queries, which `db` is given as attributes."""

    @db.table("items", indexes={"by_kind": ["kind", "price"]})
    class Item:
        kind: str
        price: int = 0

    @db.query
    def of_kind(ctx, kind: str) -> list[Item]:
        return ctx.db.query(Item).with_index("by_kind", kind=kind).collect()

    @db.query
    def total(ctx) -> int:
        return sum(item.price for item in ctx.db.query(Item))

    db.of_kind, db.total = of_kind, total


def prices(handle):
    return [item["price"] for item in handle.value]
