"""Errors that Convex has as well have its short names, which clients and tests know them by.

Those of semantics.md 13 that no other test names: index ranges, pages, schemas, limits and tokens
name theirs where they are tested. Not here, because nothing of the kind can happen:
IndexBackfillingError and IndexStagedError (an index is there when its change is), ExpiredInQueue,
UnmountedComponent, MultiplePaginatedDatabaseQueries (each page has its own place in the journal).
"""

from __future__ import annotations

import pytest

import livedb


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def delete_twice(ctx):
    made = ctx.db.insert("a", {})
    ctx.db.delete(made)
    ctx.db.delete(made)


REFUSED = {
    "NonexistentDocument": ("mutation", delete_twice),
    "InvalidArgument": ("mutation", lambda ctx: ctx.db.insert("a", 3)),
    "InvalidReturnValue": ("query", lambda ctx: object()),
    "InvalidStorageId": ("query", lambda ctx: ctx.storage.get_url("x")),
    "SystemTableError": ("query", lambda ctx: ctx.db.query("_storage").collect()),
    "FunctionPathWrongType": ("mutation", lambda ctx: ctx.run_query("change")),
    "InvalidTableName": ("mutation", lambda ctx: ctx.db.insert("_a", {})),
    "TooNestedError": ("mutation", lambda ctx: ctx.db.insert("a", {"x": nested(17)})),
    "ArrayTooLong": ("mutation", lambda ctx: ctx.db.insert("a", {"x": [0] * 8193})),
    "TooManyFieldsError": (
        "mutation",
        lambda ctx: ctx.db.insert("a", {f"f{n}": 0 for n in range(1025)}),
    ),
    "MaximumCallDepthExceeded": ("mutation", lambda ctx: ctx.run_mutation("refused")),
    "FunctionPathNotFound": ("mutation", lambda ctx: ctx.run_mutation("nowhere:at_all")),
    "InvalidScheduledFunctionDelay": (
        "mutation",
        lambda ctx: ctx.scheduler.run_after(-1, "change"),
    ),
    "InvalidScheduledFunction": (
        "mutation",
        lambda ctx: ctx.scheduler.run_after(1, "nowhere:at_all"),
    ),
}


@pytest.mark.parametrize("code", REFUSED)
def test_an_error_has_the_name_that_convex_gives_it(db, code):
    kind, body = REFUSED[code]

    @db.mutation
    def change(ctx):
        pass

    refused = getattr(db, kind)(name="refused")(body)
    with pytest.raises(livedb.LivedbError) as raised:
        refused()
    assert raised.value.code == code
