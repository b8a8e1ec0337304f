"""`db.env`: environment variables from a cell, in the workspace's own process and connected."""

from __future__ import annotations

import pytest

from livedb.errors import InvalidValueError


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


@pytest.mark.parametrize(
    "name, value",
    [
        ("no name", "x"),
        ("", "x"),
        ("x" * 41, "x"),
        ("A", 5),
        ("A", "x" * 8193),
        ("CONVEX_SITE_URL", "x"),
    ],
)
def test_what_is_no_variable_is_refused(db, name, value):
    with pytest.raises(InvalidValueError):
        db.env[name] = value
    assert len(db.env) == 0
