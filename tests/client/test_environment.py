"""`db.env`: environment variables from a cell, in the workspace's own process and connected."""

from __future__ import annotations

import pytest

from livedb.errors import InvalidValueError
from livedb.functions.system_functions import UPDATE_ENVIRONMENT


def test_a_variable_that_a_cell_sets_is_read_by_functions_and_followed(db):
    @db.query
    def greeting(ctx) -> str:
        return ctx.env.get("GREETING", "none")

    @db.action
    def greeted(ctx) -> str:
        return ctx.env["GREETING"]

    handle = greeting.live()
    assert handle.value == "none"
    db.env["GREETING"] = "hello"
    assert handle.value == greeted() == db.env["GREETING"] == "hello"
    db.env["GREETING"] = "good evening"
    assert handle.value == "good evening"
    assert dict(db.env) == {"GREETING": "good evening"}
    del db.env["GREETING"]
    assert handle.value == "none"
    assert len(db.env) == 0


def test_a_variable_that_nobody_set_is_a_key_error_that_says_how(db):
    @db.query
    def key(ctx) -> str:
        return ctx.env["API_KEY"]

    @db.action
    def act(ctx) -> str:
        return ctx.env["API_KEY"]

    for read in (lambda: db.env["API_KEY"], lambda: db.env.pop("API_KEY")):
        with pytest.raises(KeyError, match="no environment variable API_KEY"):
            read()
    with pytest.raises(KeyError):
        del db.env["API_KEY"]
    for function in (key, act):
        with pytest.raises(Exception, match="no environment variable API_KEY"):
            function()


def test_values_are_not_shown(db):
    db.env["SECRET"] = "s3cr3t"
    assert repr(db.env) == "<environment variables: SECRET>"


@pytest.mark.local("counts runs in this process")
def test_a_query_that_reads_no_variable_does_not_run_for_one(db):
    @db.query
    def nothing(ctx) -> int:
        return len(ctx.db.query("a").collect())

    handle = nothing.live()
    runs = handle.runs
    db.env["A"] = "x"
    assert (handle.value, handle.runs) == (0, runs)


def test_a_name_has_40_characters_and_a_value_8_kib(db):
    db.env["A" * 40] = "x" * 8192
    db.env["B"] = "é" * 4096
    assert [len(value) for value in db.env.values()] == [8192, 4096]
    with pytest.raises(InvalidValueError, match="8,192 bytes"):
        db.env["B"] = "é" * 4097


def test_a_workspace_has_at_most_1000_variables(db):
    changes = [{"name": f"V{n}", "value": "x"} for n in range(1_000)]
    db.env._run(UPDATE_ENVIRONMENT, changes=changes)
    with pytest.raises(InvalidValueError, match="at most 1000 environment variables"):
        db.env["ONE_MORE"] = "x"
    db.env["V0"] = "y"
    assert len(db.env) == 1_000


@pytest.mark.parametrize(
    "name, value",
    [
        ("no name", "x"),
        ("", "x"),
        ("x" * 41, "x"),
        ("é", "x"),
        (5, "x"),
        ("A", 5),
        ("A", None),
        ("A", "x" * 8193),
        ("CONVEX_SITE_URL", "x"),
    ],
)
def test_what_is_no_variable_is_refused(db, name, value):
    with pytest.raises(InvalidValueError):
        db.env[name] = value
    assert len(db.env) == 0


def test_no_value_does_not_take_a_variable_away(db):
    db.env["A"] = "x"
    with pytest.raises(InvalidValueError, match=r"`del db.env\['A'\]` removes it"):
        db.env["A"] = None
    assert dict(db.env) == {"A": "x"}


def test_a_variable_of_a_name_that_is_none_any_more_can_be_removed(db):
    """An earlier livedb took `é`, and could list no variable any more."""
    db.env._run(UPDATE_ENVIRONMENT, changes=[{"name": "é"}])
