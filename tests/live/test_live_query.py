"""Which live queries are slow."""

from __future__ import annotations

import pytest

from livedb import Database
from livedb.live.live_query import HICCUP_S, SLOW_S, LiveQuery
from livedb.live.sources import SqlSource

FAST, SLOW, HUGE = SLOW_S / 10, 2 * SLOW_S, 2 * HICCUP_S


pytestmark = pytest.mark.local("makes a live query of the workspace")


@pytest.fixture
def query(memory: Database) -> LiveQuery:
    return LiveQuery(SqlSource(memory.backend.workspace.folded_sql, "select 1", None))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "runs, is_slow",
    [
        ([], True),  # nobody knows
        ([FAST], False),
        ([SLOW], True),
        ([FAST, SLOW], False),  # the machine may have been busy
        ([FAST, SLOW, SLOW], True),
        ([FAST, SLOW, FAST, SLOW], False),
        ([FAST, HUGE], True),
        ([HUGE, FAST], True),  # slow now and then
        ([HUGE, *[FAST] * 20], False),
    ],
)
def test_a_query_is_slow_by_its_last_runs(
    query: LiveQuery, runs: list[float], *, is_slow: bool
) -> None:
    for seconds in runs:
        query.took(seconds)
    assert query.is_slow == is_slow
    assert query.runs == len(runs)


def test_what_a_handle_follows_is_never_slow(query: LiveQuery) -> None:
    query.handles = 1
    assert not query.is_slow
    query.took(HUGE)
    assert not query.is_slow
