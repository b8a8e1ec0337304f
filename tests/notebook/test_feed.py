"""The feed, driven as a page drives it: a window, then patches, each checked against the source."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.notebook.feed import VIEW_KEEP_S, VIEWS_MAX, TableFeed, diff_window
from livedb.notebook.rows import RowChange
from tests.notebook.memory_source import MemorySource


class Page:
    """What a page does with a feed's messages, as widgets/src/model does it."""

    def __init__(self, feed: TableFeed, start: int, stop: int, name: str = "view") -> None:
        self.feed, self.name = feed, name
        reply = feed.open_window(name, "realm", start, stop, now_s=0.0)
        self.sequence, self.start = reply.content["sequence"], reply.content["start"]
        self.rows = rows_in(reply.buffers[0])
        self.rows_received = len(self.rows)

    def follow(self) -> None:
        """Apply the next update, if there is one."""
        message = self.feed.take_update()
        if message is None:
            return
        (patch,) = [each for each in message.content["views"] if each["view"] == self.name]
        fresh = rows_in(message.buffers[patch["buffer"]]) if "buffer" in patch else []
        self.rows_received += len(fresh)
        assert patch["base"] == self.sequence
        runs = patch.get("runs", [(-1, len(fresh))])
        self.rows = [
            row
            for first, count in runs
            for row in (
                self.rows[first : first + count]
                if first >= 0
                else fresh[-1 - first : count - 1 - first]
            )
        ]
        self.sequence = message.content["sequence"]


def rows_in(buffer: bytes) -> list[tuple[object, ...]]:
    table = pa.ipc.open_stream(buffer).read_all()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def rows_of(source: MemorySource, start: int, stop: int) -> list[tuple[object, ...]]:
    state = source.current()
    return [
        tuple(row.values()) for row in state.window(start, min(stop, state.row_count)).to_pylist()
    ]


def followed(count: int, **options: object) -> tuple[MemorySource, TableFeed]:
    source = MemorySource([{"_id": f"k{n}", "n": n} for n in range(count)], **options)  # type: ignore[arg-type]
    feed = TableFeed(source)
    source.notify = feed.add_change
    return source, feed


def test_a_change_of_one_row_sends_one_row():
    source, feed = followed(100)
    page = Page(feed, 10, 60)
    source.commit({"k20": {"n": -1}})
    page.follow()
    assert page.rows == rows_of(source, 10, 60)
    assert page.rows_received == 51


def test_a_row_that_comes_in_above_sends_only_the_row_that_moves_in():
    source, feed = followed(100)
    page = Page(feed, 10, 60)
    source.put_first("new", {"n": -1})
    page.follow()
    assert page.rows == rows_of(source, 10, 60)
    assert page.rows_received == 51


def test_many_changes_make_one_update_of_the_newest_state():
    source, feed = followed(100)
    page = Page(feed, 0, 50)
    for turn in range(500):
        source.commit({"k3": {"n": turn}, f"k{turn % 50}": {"n": turn}})
    page.follow()
    assert page.rows == rows_of(source, 0, 50)
    assert feed.take_update() is None


def test_a_state_newer_than_its_change_is_sent_whole_so_that_commits_never_mix():
    source, feed = followed(100)
    page = Page(feed, 0, 50)
    source.notify = lambda change: None
    source.commit({"k1": {"n": -1}})
    late = source.current().number - 1
    feed.add_change(RowChange(number=late, changed=("k2",), added=(), removed=()))
    page.follow()
    assert page.rows == rows_of(source, 0, 50)
    assert page.rows_received == 100


@pytest.mark.parametrize("options", [{"key": None}, {"key": "n"}], ids=["no key", "key not text"])
def test_rows_without_usable_keys_travel_whole(options):
    source, feed = followed(10, **options)
    page = Page(feed, 0, 10)
    source.commit({"k1": {"n": 5}})
    page.follow()
    assert page.rows == rows_of(source, 0, 10)


def test_when_a_column_comes_or_goes_no_old_row_is_kept():
    source, feed = followed(10)
    page = Page(feed, 0, 10)
    source.commit({"k1": {"extra": "new"}})
    page.follow()
    assert page.rows == rows_of(source, 0, 10)
    assert page.rows_received == 20


def test_nothing_is_read_when_nobody_looks():
    source, feed = followed(10)
    source.commit({"k1": {"n": 5}})
    assert feed.take_update() is None
    assert source.windows_read == []


def test_reading_costs_what_is_open_however_large_the_result():
    source, feed = followed(5_000)
    page = Page(feed, 1_000, 1_050)
    source.windows_read.clear()
    source.commit({"k1010": {"n": 5}})
    page.follow()
    assert source.windows_read == [(1_000, 1_050)]


@pytest.mark.parametrize(
    "start,stop,window",
    [(-5, 10, (0, 10)), (95, 300, (95, 100)), (500, 600, (100, 100)), (20, 10, (20, 20))],
)
def test_a_window_outside_the_result_is_clipped(start, stop, window):
    _, feed = followed(100)
    page = Page(feed, start, stop)
    assert (page.start, page.start + len(page.rows)) == window


def test_a_failed_read_leaves_a_gap_that_a_sign_of_life_shows():
    source, feed = followed(10)
    page = Page(feed, 0, 10)
    source.current, current = (lambda: 1 // 0), source.current  # type: ignore[method-assign,return-value,assignment]
    feed.add_change(RowChange(number=2))
    with pytest.raises(ZeroDivisionError):
        feed.take_update()
    source.current = current  # type: ignore[method-assign]
    assert feed.beat().content["sequence"] > page.sequence


def test_a_request_is_answered_while_the_newest_state_is_being_made():
    """A commit to a table of a million rows is a run of half a second."""
    source, feed = followed(100)
    Page(feed, 0, 10)
    is_read, may_go_on = threading.Event(), threading.Event()

    def read_slowly():
        is_read.set()
        assert may_go_on.wait(5)
        return source._state

    shown = source.current()
    source.shown = lambda: shown  # type: ignore[method-assign]
    source.current = read_slowly  # type: ignore[method-assign]
    feed.add_change(RowChange(number=2))
    with ThreadPoolExecutor() as threads:
        update = threads.submit(feed.take_update)
        assert is_read.wait(5)
        page = Page(feed, 50, 60, name="scrolled")
        may_go_on.set()
        assert update.result() is not None
    assert page.rows == rows_of(source, 50, 60)


def test_views_are_bounded_and_the_oldest_goes():
    _, feed = followed(10)
    for number in range(VIEWS_MAX + 5):
        Page(feed, 0, 10, name=f"view{number}")
    assert feed.view_count == VIEWS_MAX


def test_views_of_a_silent_page_are_forgotten_once_another_answers():
    _, feed = followed(10)
    feed.open_window("silent", "one", 0, 10, now_s=0.0)
    feed.open_window("alive", "two", 0, 10, now_s=0.0)
    feed.hear("two", now_s=VIEW_KEEP_S - 1)
    assert feed.realms() == {"one", "two"}
    feed.hear("two", now_s=VIEW_KEEP_S + 1)
    assert feed.realms() == {"two"}


KEYS = st.lists(st.sampled_from([f"k{n}" for n in range(12)]), unique=True)


@given(old=KEYS, new=KEYS, touched=st.sets(st.sampled_from([f"k{n}" for n in range(12)])))
def test_runs_rebuild_the_new_window(old, new, touched):
    runs, fresh = diff_window(old, new, touched)
    fresh_keys = [new[at] for at in fresh]
    rebuilt = [
        key
        for first, count in runs
        for key in (
            old[first : first + count] if first >= 0 else fresh_keys[-1 - first : count - 1 - first]
        )
    ]
    assert rebuilt == new
    assert all(key in touched or key not in old for key in fresh_keys)
    assert len(runs) <= len(new)


COMMIT = st.dictionaries(
    st.sampled_from([f"k{n}" for n in range(30)]),
    st.one_of(st.none(), st.integers(0, 5)),
    max_size=4,
)


@given(commits=st.lists(st.tuples(COMMIT, st.booleans(), st.booleans()), max_size=12))
def test_a_page_equals_the_source_after_every_update(commits):
    source, feed = followed(20)
    page = Page(feed, 3, 14)
    for commit, known, follows in commits:
        here = set(source._documents)
        changes = {
            key: None if value is None else {"n": value}
            for key, value in commit.items()
            if value is not None or key in here
        }
        source.commit(changes, known=known)
        if follows:
            page.follow()
            assert page.rows == rows_of(source, 3, 14)
