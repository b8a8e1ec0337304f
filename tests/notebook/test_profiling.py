"""When columns are profiled, whom it is told, and what it may cost."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from livedb.clock import ManualClock
from livedb.notebook.arrangement import Arrangement, Filter
from livedb.notebook.feed import VIEWS_MAX, TableFeed
from livedb.notebook.profiling import COLUMNS_MAX, QUIET_S, REST_SHARE, Profiler, TableProfiles
from livedb.notebook.publisher import Publisher
from livedb.notebook.widgets import LiveTable
from tests.notebook.memory_source import MemorySource
from tests.notebook.test_widgets import ask, comm, made, send  # noqa: F401 - fixtures

SOME = [{"_id": f"k{n}", "n": n, "city": "Oslo" if n % 2 else "Lima"} for n in range(10)]


def opened(documents: Any = SOME, arrangement: Arrangement = Arrangement()):  # noqa: B008
    source = MemorySource(documents)
    feed = TableFeed(source)
    feed.open_window("v", "page", 0, 50, now_s=0, arrangement=arrangement)
    return source, feed, TableProfiles(feed)


def told(profiles: TableProfiles) -> dict[int, dict[str, Any]]:
    return {at: each for message in profiles.messages() for at, each in message["columns"]}


def test_only_columns_in_sight_are_told_and_each_once():
    _, _, profiles = opened()
    profiles.want("v", (1, 2, 99))
    first = told(profiles)
    assert set(first) == {1, 2}
    assert sum(first[1]["bars"]) == 10
    assert [each[:2] for each in first[2]["values"]] == [["Lima", "=Lima"], ["Oslo", "=Oslo"]]
    assert told(profiles) == {}
    profiles.want("v", (2,))
    assert set(told(profiles)) == {2}


def test_after_a_commit_only_what_changed_is_told():
    source, _, profiles = opened()
    profiles.want("v", (1, 2))
    told(profiles)
    source.commit({"k0": {"n": 500}})
    assert set(told(profiles)) == {1}
    source.commit({"new": {"n": 1, "city": None}})
    assert told(profiles)[2]["nulls"] == 1


def test_the_key_is_not_counted():
    _, _, profiles = opened()
    profiles.want("v", (0,))
    assert told(profiles) == {0: {"name": "_id", "count": 10, "nulls": 0, "distinct": 10}}


def test_what_a_views_filters_leave_is_told_beside_all():
    _, _, profiles = opened(arrangement=Arrangement(filters=(Filter(2, "=Oslo"),)))
    profiles.want("v", (1, 2))
    found = told(profiles)
    assert (sum(found[1]["bars"]), sum(found[1]["found"]["bars"])) == (10, 5)
    assert found[2]["found"]["bars"] == [0, 5]


def test_of_a_table_of_thousands_of_columns_only_those_in_sight_are_read():
    wide = pa.table({f"c{at}": pa.array([1, 2]) for at in range(5_000)})
    feed = TableFeed(MemorySource.of_table(wide))
    feed.open_window("v", "page", 0, 50, now_s=0)
    profiles = TableProfiles(feed)
    profiles.want("v", tuple(range(4_000, 4_000 + 2 * COLUMNS_MAX)))
    assert len(told(profiles)) == COLUMNS_MAX
    assert len(profiles._counted) == COLUMNS_MAX


def test_a_view_that_closed_or_was_never_opened_hears_nothing():
    _, _, profiles = opened()
    for view in range(2 * VIEWS_MAX):
        profiles.want(f"unknown{view}", (1,))
    assert list(profiles.messages()) == []
    assert len(profiles._wanted) == VIEWS_MAX
    profiles.want("v", (1,))
    profiles.close_view("v")
    assert list(profiles.messages()) == []


class Counting:
    """A table that only counts how often it was asked, each time for `took_s`."""

    address = "t"

    def __init__(self, clock: ManualClock, took_s: float) -> None:
        self.clock, self.took_s, self.counts = clock, took_s, 0

    def send_profiles(self) -> None:
        self.counts += 1
        self.clock.advance(self.took_s)


def due_s(profiler: Profiler) -> float:
    return profiler._due["t"][0]


@pytest.fixture
def idle():
    """A profiler without a thread: only the test looks at the clock."""
    clock = ManualClock()
    profiler = Profiler(clock)
    profiler._thread = object()  # type: ignore[assignment]  # stands for one that runs
    return clock, profiler


def test_a_burst_is_counted_once_and_a_page_that_asks_is_answered_at_once(idle):
    clock, profiler = idle
    table = Counting(clock, 0)
    begun_s = clock.monotonic_s()
    for _ in range(100):
        profiler.note_change(table)
    assert due_s(profiler) == begun_s + QUIET_S
    profiler.ask(table)
    assert due_s(profiler) == begun_s
    assert profiler.count_next(wait=False)
    assert not profiler.count_next(wait=False)
    assert table.counts == 1


def test_a_table_rests_in_proportion_to_what_its_count_took(idle):
    clock, profiler = idle
    table = Counting(clock, 2.0)
    profiler.ask(table)
    profiler.count_next(wait=False)
    profiler.note_change(table)
    assert due_s(profiler) == clock.monotonic_s() + 2.0 * REST_SHARE


def test_a_count_that_fails_fails_alone(idle, caplog):
    clock, profiler = idle
    table = Counting(clock, 0)
    table.send_profiles = lambda: 1 / 0  # type: ignore[method-assign]
    profiler.ask(table)
    assert profiler.count_next(wait=False)
    assert "could not be profiled" in caplog.text


def test_a_page_is_told_of_the_columns_that_it_names_and_of_their_changes(comm, made):  # noqa: F811
    source, _ = made(SOME, profiler=Profiler())
    ask(comm)
    send(comm, kind="profiles", view="v", columns=[1])
    first = comm.wait_for("profiles")
    assert (first.view, first.columns[0][0]) == ("v", 1)
    source.commit({"k0": {"n": 500}})
    assert comm.wait_for("profiles", 2).columns[0][1]["high"] == "500"


@pytest.mark.parametrize("columns", ["1", [-1], [True], ["x"], list(range(COLUMNS_MAX + 1))])
def test_a_page_that_asks_wrongly_fails_alone(comm, made, columns, caplog):  # noqa: F811
    made(SOME)
    ask(comm)
    send(comm, kind="profiles", view="v", columns=columns)
    assert "message to a table failed" in caplog.text
    ask(comm)
    assert comm.wait_for("reply", 2)


def test_heads_that_nobody_looks_at_start_no_thread(comm, made):  # noqa: F811
    profiler = Profiler()
    source, _ = made(SOME, profiler=profiler)
    ask(comm)
    source.commit({"k0": {"n": 500}})
    assert profiler._thread is None


def test_a_closed_table_is_not_counted():
    with Publisher() as publisher:
        profiler = Profiler()
        table = LiveTable(MemorySource(SOME), publisher=publisher, profiler=profiler)
        table.close()
        table.send_profiles()
    assert profiler._due == {}
