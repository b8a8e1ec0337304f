"""Warnings of what a function depends on and livedb cannot see change."""

from __future__ import annotations

import pytest

from livedb.functions.definition import define
from livedb.functions.purity import impurities
from tests.functions import impure


@pytest.mark.parametrize(
    "name, advice",
    [
        ("now", "Use ctx.now"),
        ("today", "Use ctx.now.date()"),
        ("clock", "Use ctx.now"),
        ("dice", "Use ctx.random"),
        ("token", "Use ctx.random"),
        ("name", "Use ctx.random"),
        ("module_now", "dt.datetime.now gives another time at each run"),
        ("module_today", "Use ctx.now.date()"),
        ("deep_dice", "tools.random.random differs at each run"),
        ("deep_clock", "Use ctx.now"),
        ("imported_clock", "now_s gives another time at each run"),
        ("imported_class", "moment.now gives another time at each run"),
        ("imported_dice", "roll differs at each run. Use ctx.random"),
        ("imported_method", "randint differs at each run"),
        ("imported_generator", "Use ctx.random"),
        ("imported_token", "Use ctx.random"),
        ("imported_name", "Use ctx.random"),
        ("kept_method", "kept_now gives another time at each run"),
        ("renamed_clock", "tools.now_s gives another time at each run"),
    ],
)
@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_clocks_and_randomness_name_what_to_use_instead(name, advice, kind):
    (message,) = impurities(define(getattr(impure, name), kind=kind))
    assert advice in message


@pytest.mark.parametrize(
    "name, shown",
    [
        ("file", "open"),
        ("network", "socket.create_connection"),
        ("raw_network", "socket.socket"),
        ("address", "urlopen"),
        ("process", "subprocess.run"),
        ("frame", "pd.read_csv"),
    ],
)
@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_what_reaches_outside_of_the_workspace_is_named(name, shown, kind):
    (message,) = impurities(define(getattr(impure, name), kind=kind))
    assert message.startswith(f"{shown} reaches outside of the workspace")
    assert "Do it in an action" in message


def test_a_global_list_concerns_queries_only():
    for name in ("numbers", "table"):
        (message,) = impurities(define(getattr(impure, name), kind="query"))
        assert f"the global {({'numbers': 'NUMBERS', 'table': 'TABLE'})[name]!r}" in message
        assert impurities(define(getattr(impure, name), kind="mutation")) == []


def test_constants_functions_and_the_context_are_fine():
    assert impurities(define(impure.fine, kind="query")) == []
    assert impurities(define(impure.names_by_hash, kind="query")) == []
