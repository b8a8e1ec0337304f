"""What people look for in a `ctx` that lacks it: the error says what to do instead."""

from __future__ import annotations

import pytest

import livedb
from livedb.errors import (
    InvalidValueError,
    LivedbError,
    ReadOnlyError,
    SchemaDefinitionError,
    SearchError,
)


@pytest.mark.parametrize(
    "kind, look, said",
    [
        ("action", lambda ctx: ctx.db, r"no 'db'.*ctx.run_query\(f, ..\)"),
        ("query", lambda ctx: ctx.scheduler, "no 'scheduler'.*Schedule in a mutation"),
        ("query", lambda ctx: ctx.crons, "no 'crons'.*in a mutation or an action"),
        ("query", lambda ctx: ctx.run_mutation, "no 'run_mutation'.*only reads"),
        ("query", lambda ctx: ctx.run_action, "no 'run_action'"),
        ("mutation", lambda ctx: ctx.run_action, r"no 'run_action'.*ctx.scheduler.run_after\(0"),
        (
            "query",
            lambda ctx: ctx.meta.get_request_metadata(),
            "ctx.meta of a query has no 'get_request_metadata'.*for mutations and actions",
        ),
        ("action", lambda ctx: ctx.meta.get_snapshot_ts(), "no 'get_snapshot_ts'.*no transaction"),
        ("mutation", lambda ctx: ctx.meta.misspelt, "ctx.meta of a mutation has no 'misspelt'$"),
        ("mutation", lambda ctx: ctx.misspelt, "ctx of a mutation has no 'misspelt'$"),
    ],
)
def test_a_name_that_a_ctx_lacks_is_an_attribute_error_that_helps(kind, look, said):
    with livedb.open() as db:

        def function(ctx):
            look(ctx)

        with pytest.raises(AttributeError, match=said):
            getattr(db, kind)(function)()


def test_hasattr_of_a_ctx_says_no():
    with livedb.open() as db:

        @db.action
        def has(ctx):
            return [hasattr(ctx, name) for name in ("db", "run_query")]

        assert has() == [False, True]


@pytest.mark.parametrize("search", [None, 5, b"text"])
def test_a_search_is_asked_for_by_a_text_or_a_function(search):
    with livedb.open() as db:

        @db.query
        def find(ctx):
            return ctx.db.query("t").with_search_index("s", search).take(1)

        with pytest.raises(SearchError, match=f"and this is {type(search).__name__}"):
            find()


def test_the_filter_of_a_vector_search_is_a_function():
    with livedb.open() as db:

        @db.query
        def near(ctx):
            return ctx.db.query("t").with_vector_index("v", [1.0], filter={"a": 1}).collect()

        with pytest.raises(SearchError, match=r"is a function.*and this is dict"):
            near()


def test_the_system_tables_are_named_where_one_looks_for_them():
    with livedb.open() as db:

        @db.query
        def nothing(ctx):
            return ctx.db.system.query(None)

        with pytest.raises(ReadOnlyError, match="no system table None"):
            nothing()
        with pytest.raises(SchemaDefinitionError, match=r"ctx.db.system.query"):
            db["_scheduled_functions"]


def test_cancelling_nothing_is_no_cancelling_of_oneself():
    with livedb.open() as db:

        @db.mutation
        def cancel(ctx):
            ctx.scheduler.cancel(None)

        with pytest.raises(LivedbError) as raised:
            cancel()
        assert "itself" not in raised.value.message


@pytest.mark.parametrize("number", ["1", 1.0, True, None])
def test_an_undo_takes_the_number_of_a_commit(number):
    with livedb.open() as db, pytest.raises(InvalidValueError, match="the number of a commit"):
        db.undo(number)
