"""What help and tooltips show of a function: as it is written, here and on another kernel."""

from __future__ import annotations

import inspect

import pytest

import livedb
from livedb import Id, MutationContext, QueryContext, v
from livedb.functions.signatures import function_with_help, help_of
from tests.conftest import connected


def bare(ctx): ...


def every_kind(ctx, a, /, b: int, *rest: str, c: list[int] | None = None, **more: float) -> None:
    """Takes all there is.

    And says more of it.
    """


@pytest.mark.parametrize("function", [bare, every_kind, lambda ctx, *, n=1: n])
def test_what_travels_has_the_same_shape_and_help(function):
    made = function_with_help(function, help_of(function))
    ours, theirs = inspect.signature(function), inspect.signature(made)
    assert [(each.name, each.kind) for each in ours.parameters.values()][1:] == [
        (each.name, each.kind) for each in theirs.parameters.values()
    ][1:]
    assert inspect.getdoc(made) == inspect.getdoc(function)


def test_a_function_of_another_kernel_shows_its_types_and_help():
    with livedb.open() as ana:

        @ana.table("users")
        class User:
            name: str

        @ana.query
        def named(ctx: QueryContext, user: Id[User], most: int = 5) -> list[User]:
            """Users of that name."""
            return ctx.db.query(User).take(most)

        @ana.mutation(args={"from_": v.string()})
        def add(ctx: MutationContext, from_): ...

        with connected(ana) as ben:
            query = ben.function("named")
            assert repr(query) == "<query named(user: Id[User], most: int = ...) -> list[User]>"
            assert query.__doc__ == "Users of that name."
            assert repr(ben.function("add")) == "<mutation add(from_)>"
            shown = ben._repr_mimebundle_()["text/plain"]
            assert "named(user: Id[User], most: int = ...) -> list[User]" in shown
            assert "Users of that name." in shown
            me = ana["users"].insert({"name": "Ana"})
            assert [row["name"] for row in query(user=me)] == ["Ana"]
