"""The feed, driven as a page drives it: a window, then patches, each checked against the source."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.notebook.feed import VIEW_KEEP_S, VIEWS_MAX, Message, TableFeed, diff_window
from tests.notebook.memory_source import MemorySource


class Page:
    """What a page does with a feed's messages, as widgets/src/model does it."""

    def __init__(self, feed: TableFeed, start: int, stop: int, name: str = "view") -> None:
        self.feed, self.name = feed, name
        reply = feed.open_window(name, "realm", start, stop, now_s=0.0)
        self.sequence, self.start = reply.content["sequence"], reply.content["start"]
        self.base = -1
        self.kinds = kinds_of(reply)
        self.rows = rows_in(reply.buffers[0])
        self.rows_received = len(self.rows)

    def follow(self) -> None:
        """Apply the next update, if there is one."""
        message = self.feed.take_update(self.feed.source.current())
        if message is None:
            return
        (patch,) = [each for each in message.content["views"] if each["view"] == self.name]
        fresh = fresh_rows(message, patch, self.kinds)
        self.rows_received += len(fresh)
        assert patch["base"] == self.base
        if "columns" in message.content:
            self.kinds = kinds_of(message)
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
        self.base = self.sequence = message.content["sequence"]


def kinds_of(message: Message) -> list[str]:
    return [column[1] for column in message.content["columns"]]


def fresh_rows(
    message: Message, patch: dict[str, Any], kinds: list[str]
) -> list[tuple[object, ...]]:
    """The new rows of a patch, whichever way they came."""
    if "cells" not in patch:
        return rows_in(message.buffers[patch["buffer"]]) if "buffer" in patch else []
    types = {"integer": int, "datetime": int, "float": float}
    cells = json.loads(json.dumps(patch["cells"], allow_nan=False))
    columns = [
        [None if value is None else types.get(kind, lambda same: same)(value) for value in column]
        for column, kind in zip(cells, kinds, strict=True)
    ]
    return list(zip(*columns, strict=True))


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
    assert feed.take_update(source.current()) is None


@pytest.mark.parametrize("key", ["_id", None])
def test_what_no_page_would_see_is_not_sent(key):
    source, feed = followed(100, key=key)
    page = Page(feed, 0, 50)
    source.commit({"k1": {"n": float("nan")}})
    page.follow()
    received = page.rows_received
    source.commit({"k70": {"n": -1}})  # its number is told, with a row below
    page.follow()
    assert page.rows_received == received
    newer = replace(source.current(), number=source.current().number + 1)
    assert feed.take_update(newer) is None  # of another table
    source.commit({})
    assert feed.take_update(source.current()).content["views"][0]["runs"] == [(0, 50)]


def test_what_seldom_changes_travels_when_it_does():
    source, feed = followed(10)
    Page(feed, 0, 10)
    heads = []
    for changes in ({"n": 5}, {"n": 6}, {"extra": "new"}, {"n": 7}):
        source.commit({"k1": changes})
        content = feed.take_update(source.current()).content
        heads.append((content["head"], "columns" in content))
    first = heads[0][0]
    assert heads == [(first, False), (first, False), (first + 1, True), (first + 1, False)]
    reply = feed.open_window("other", "realm", 0, 10, now_s=0.0).content
    assert (reply["head"], [name for name, _ in reply["columns"]]) == (
        first + 1,
        ["_id", "n", "extra"],
    )


def test_a_patch_says_which_answer_it_is_over():
    """One that is lost, or comes when its page has another, leaves the page with other rows."""
    source, feed = followed(10)
    Page(feed, 0, 10)
    source.commit({"k1": {"n": 5}})
    feed.take_update(source.current())
    # The first request once more, from a page that waited in vain; the rows have changed meanwhile.
    source.commit({"k1": {"n": 6}})
    reply = feed.open_window("view", "realm", 0, 10, now_s=0.0, request=7)
    message = feed.take_update(source.current())
    assert message.content["sequence"] == reply.content["sequence"] + 1
    (patch,) = message.content["views"]
    assert (patch["base"], patch["runs"]) == (-7, [(0, 10)])


def test_an_update_of_one_row_is_small():
    rows = [{"_id": f"{n:032}", "name": f"name {n}", "n": n, "x": n / 7} for n in range(50)]
    source = MemorySource(rows)
    feed = TableFeed(source)
    feed.open_window("a view's name", "realm", 0, 50, now_s=0.0)
    assert feed.take_update(source.current()) is None
    source.commit({rows[7]["_id"]: {"n": -1}})
    message = feed.take_update(source.current())
    assert message.buffers == []
    assert len(json.dumps(message.content)) < 350


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
    assert feed.take_update(source.current()) is None
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
    broken = replace(source.current(), number=2, identity=None, window=lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        feed.take_update(broken)
    assert feed.beat().content["sequence"] > page.sequence


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


VALUES = st.one_of(st.integers(0, 2), st.sampled_from([2**53, 2**53 + 1, -(2**63)]))
COMMIT = st.dictionaries(
    st.sampled_from([f"k{n}" for n in range(30)]),
    st.one_of(st.none(), VALUES),
    max_size=4,
)


@given(commits=st.lists(st.tuples(COMMIT, st.booleans()), max_size=12))
def test_a_page_equals_the_source_after_every_update(commits):
    source, feed = followed(20)
    page = Page(feed, 3, 14)
    for commit, follows in commits:
        here = set(source._documents)
        changes = {
            key: None if value is None else {"n": value}
            for key, value in commit.items()
            if value is not None or key in here
        }
        source.commit(changes)
        if follows:
            page.follow()
            assert page.rows == rows_of(source, 3, 14)
