"""What a reader asks of a table, against plain Python over the same rows."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.notebook.arrangement import (
    FILTERS_MAX,
    PLAIN,
    Arrangement,
    Arranger,
    Filter,
    Sort,
    read_arrangement,
)
from livedb.notebook.cells import Column
from livedb.notebook.feed import TableFeed
from livedb.notebook.filters import mask_of
from livedb.notebook.rows import RowState, state_of_table, state_of_value
from tests.notebook.memory_source import MemorySource
from tests.notebook.test_feed import fresh_rows, kinds_of, rows_in

INSTANTS = [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None, *(
    datetime(year, month, 1, tzinfo=UTC) for year, month in ((2026, 2), (2027, 1)))]  # fmt: skip
TABLE = pa.table(
    {
        "_id": ["a", "b", "c", "d"],
        "n": pa.array([3, None, 1, 2], pa.int64()),
        "f": [1.0, 2.5, float("nan"), None],
        "money": pa.array([Decimal("1.10"), Decimal("2.20"), None, Decimal("-3.30")]),
        "s": ["Hallo", "a null", "=cmd", None],
        "j": [{"a": 1}, None, {"a": 2}, {"a": 3}],
        "at": pa.array(INSTANTS, pa.timestamp("us", "UTC")),
        "day": pa.array([None if each is None else each.replace(tzinfo=None) for each in INSTANTS]),
        "done": [True, False, None, True],
        "code": pa.array(["x", "y", "x", None]).dictionary_encode(),
        "nothing": pa.nulls(4),
        "_creationTime": [1.70e12, 1.71e12, 1.72e12, 1.73e12],
    }
)
STATE = state_of_table(TABLE, {"j": "object"}, 1, None)
NAMES = STATE.window(0, 0).column_names


def ids(state: RowState) -> list[str]:
    return state.window(0, state.row_count)["_id"].to_pylist()


def found(column: str, text: str) -> str:
    wanted = Arrangement(filters=(Filter(NAMES.index(column), text),))
    return "".join(ids(Arranger().arranged(STATE, wanted)))


@pytest.mark.parametrize(
    "column,text,expected",
    [
        ("n", "2", "d"),
        ("n", "=2", "d"),
        ("n", "!=2", "abc"),
        ("n", ">1", "ad"),
        ("n", ">= 2", "ad"),
        ("n", "<2", "c"),
        ("n", "1..2", "cd"),
        ("n", "2..", "ad"),
        ("n", "..2", "cd"),
        ("n", "1_000", ""),
        ("n", "99999999999999999999999", ""),
        ("n", "x", ""),
        ("n", "1..x", ""),
        ("n", "null", "b"),
        ("n", "!null", "acd"),
        ("n", ">", "abcd"),
        ("n", "..", "abcd"),
        ("n", "", "abcd"),
        ("f", ">1", "b"),
        ("f", "1..3", "ab"),
        ("f", "nan", "c"),
        ("money", "<=1.1", "ad"),
        ("s", "hALLO", "a"),
        ("s", "=hallo", ""),
        ("s", "=Hallo", "a"),
        ("s", "!=Hallo", "bcd"),
        ("s", "==cmd", "c"),
        ("s", "=null", ""),
        ("s", "a null", "b"),
        ("s", "%", ""),
        ("s", ".*", ""),
        ("j", '"a": 2', "c"),
        ("at", "2026", "ac"),
        ("at", "2026-01", "a"),
        ("at", ">2026-01", "cd"),
        ("at", "<=2026-02-01", "ac"),
        ("at", "2026-01..2026-02", "ac"),
        ("at", "2026-01-02 03:04", "a"),
        ("at", "2026-01-02T03:04:05Z", "a"),
        ("at", "2026-13", ""),
        ("at", "9999", ""),
        ("at", "03:04", "a"),
        ("day", "2027", "d"),
        ("done", "true", "ad"),
        ("done", "!=true", "bc"),
        ("code", "x", "ac"),
        ("nothing", "null", "abcd"),
        ("nothing", "x", ""),
        ("_creationTime", "2024-07", "c"),
        ("_creationTime", ">2024-03-01", "bcd"),
        ("_id", "=c", "c"),
    ],
)
def test_a_filter_says_what_its_column_holds(column: str, text: str, expected: str) -> None:
    assert found(column, text) == expected


@pytest.mark.parametrize(
    "search,expected",
    [
        ("HALLO", "a"),
        ("2026-01-02", "a"),
        ("nope", ""),
        ('"a": 3', "d"),
        ("2.5", "b"),
        ("NaN", "c"),
        ("TRUE", "ad"),
        ("-3.30", "d"),
        ("03:04", "a"),
        ("=", "c"),
    ],
)
def test_a_search_looks_into_every_column(search: str, expected: str) -> None:
    assert "".join(ids(Arranger().arranged(STATE, Arrangement(search=search)))) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_every_column_can_be_sorted_with_what_is_missing_last(name: str, order: str) -> None:
    is_descending = order == "descending"
    wanted = Arrangement(sorts=(Sort(NAMES.index(name), is_descending),))
    sorted_state = Arranger().arranged(STATE, wanted)
    values = sorted_state.window(0, 4)[name].to_pylist()
    missing = [value is None for value in values]
    assert missing == sorted(missing)
    there = [str(value) if name == "j" else value for value in values if value is not None]
    there = [value for value in there if str(value) != "nan"]  # it is behind all numbers
    assert there == sorted(there, reverse=is_descending)


rows = st.lists(
    st.tuples(st.none() | st.integers(-3, 3), st.none() | st.sampled_from(["a", "B", "ab", ""])),
    max_size=12,
)
wishes = st.tuples(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=3),
    st.sampled_from(["", ">0", "=1", "!=1", "-1..2", "null"]),
    st.sampled_from(["", "A", "=ab", "null"]),
)


@given(rows, wishes)
def test_sorts_and_filters_together_are_those_of_python(
    given_rows: list[tuple[int | None, str | None]], wanted: tuple[Any, str, str]
) -> None:
    sorts, number, text = wanted
    table = pa.table(
        {
            "_id": [str(at) for at in range(len(given_rows))],
            "n": pa.array([n for n, _ in given_rows], pa.int64()),
            "s": pa.array([s for _, s in given_rows], pa.string()),
        }
    )
    state = state_of_table(table, None, 1, None)
    arrangement = Arrangement(
        tuple(Sort(*each) for each in sorts), (Filter(1, number), Filter(2, text))
    )
    tests: dict[str, Any] = {
        "": lambda value: True,
        "null": lambda value: value is None,
        ">0": lambda value: value is not None and value > 0,
        "=1": lambda value: value == 1,
        "!=1": lambda value: value != 1,
        "-1..2": lambda value: value is not None and -1 <= value <= 2,
        "A": lambda value: value is not None and "a" in value.lower(),
        "=ab": lambda value: value == "ab",
    }
    expected = [
        (str(at), n, s)
        for at, (n, s) in enumerate(given_rows)
        if tests[number](n) and tests[text](s)
    ]
    for column, is_descending in reversed([sort for sort in sorts if sort[0] < 3]):
        there = [row for row in expected if row[column] is not None]
        missing = [row for row in expected if row[column] is None]
        there.sort(key=lambda row: row[column], reverse=is_descending)
        expected = there + missing
    assert ids(Arranger().arranged(state, arrangement)) == [row[0] for row in expected]


def test_rows_are_arranged_once_while_they_are_the_same() -> None:
    arranger, wanted = Arranger(), Arrangement(sorts=(Sort(1, True),))
    arranger.arranged(STATE, wanted)
    made = arranger._made[wanted]
    again = arranger.arranged(state_of_table(TABLE, {"j": "object"}, 2, None), wanted)
    assert arranger._made[wanted] is made
    assert again.number == 2
    other = state_of_table(TABLE.slice(1), {"j": "object"}, 2, None)
    assert ids(arranger.arranged(other, wanted)) == ["d", "c", "b"]
    assert arranger._made[wanted] is not made


def test_what_is_no_table_is_not_arranged() -> None:
    state = state_of_value(7, number=1)
    assert Arranger().arranged(state, Arrangement(search="8")) is state


def test_a_column_that_is_not_there_asks_for_nothing() -> None:
    wanted = Arrangement((Sort(99, False),), (Filter(99, "x"),))
    assert ids(Arranger().arranged(STATE, wanted)) == ["a", "b", "c", "d"]


def test_a_page_says_it_in_json() -> None:
    said = {"sorts": [[1, True]], "filters": [[0, " x "]], "search": " y "}
    assert read_arrangement(said) == Arrangement((Sort(1, True),), (Filter(0, "x"),), "y")
    assert read_arrangement(None) == read_arrangement({}) == PLAIN


@pytest.mark.parametrize(
    "said",
    [
        7,
        {"sorts": 1},
        {"sorts": [[1]]},
        {"sorts": [[-1, True]]},
        {"sorts": [[True, True]]},
        {"sorts": [[1, 1]]},
        {"sorts": [[0, True]] * 9},
        {"filters": [[0, 1]]},
        {"filters": [[0, "x" * 201]]},
        {"filters": [[0, "x"]] * (FILTERS_MAX + 1)},
        {"search": None},
        {"search": "x" * 201},
    ],
)
def test_what_is_no_arrangement_is_refused(said: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_arrangement(said)


@given(
    st.lists(st.dictionaries(st.sampled_from([f"k{n}" for n in range(12)]),
             st.none() | st.integers(0, 5), max_size=3), max_size=6),
)  # fmt: skip
def test_an_arranged_view_follows_every_commit(commits: list[dict[str, int | None]]) -> None:
    source = MemorySource([{"_id": f"k{n}", "n": n % 4} for n in range(8)])
    feed = TableFeed(source)
    wanted = Arrangement((Sort(1, True),), (Filter(1, ">0"),))
    reply = feed.open_window("v", "r", 0, 5, now_s=0.0, arrangement=wanted)
    shown, count = rows_in(reply.buffers[0]), reply.content["count"]
    for commit in commits:
        there = {row["_id"] for row in source._rows()}
        changes = {
            key: None if n is None else {"n": n}
            for key, n in commit.items()
            if n is not None or key in there
        }
        source.commit(changes)
        message = feed.take_update(source.current())
        if message is not None:
            (patch,) = message.content["views"]
            fresh = fresh_rows(message, patch, kinds_of(reply))
            shown = [
                row
                for first, length in patch.get("runs", [(-1, len(fresh))])
                for row in (shown[first:] if first >= 0 else fresh[-1 - first :])[:length]
            ]
            count = patch["count"]
        rows_now = [row for row in source._rows() if row.get("n", 0) > 0]
        rows_now.sort(key=lambda row: row["n"], reverse=True)
        assert shown == [(row["_id"], row["n"]) for row in rows_now[:5]]
        assert count == len(rows_now)


@pytest.mark.parametrize(
    "text, found",
    [
        ("<1.5", [1]), (">=1.5", [2, 2**60 + 1]), (">1.5", [2, 2**60 + 1]), ("<=1.5", [1]),
        ("1.5", []), (f"={2**60 + 1}", [2**60 + 1]), (">1e400", []), ("<1e400", [1, 2, 2**60 + 1]),
        ("1..<2", [1]), ("..<", [1, 2, 2**60 + 1]),
    ],
)  # fmt: skip
def test_whole_numbers_are_compared_exactly_with_any_number(text, found):
    column = pa.array([1, 2, 2**60 + 1])
    mask = mask_of(column, Column("n", "integer"), text)
    assert (column if mask is None else column.filter(mask)).to_pylist() == found


@pytest.mark.parametrize("text", ["9007199254740993", ">9007199254740993", "..1e30"])
def test_a_number_too_large_for_a_double_is_compared_all_the_same(text):
    mask = mask_of(pa.array([1.5, None]), Column("x", "float"), text)
    assert mask.to_pylist() == [text == "..1e30", False]
