"""Results as they travel: whole, or what changed; what arrives is what was sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.protocol.messages import ProtocolError
from livedb.protocol.results import Rows, read_result, write_rows, write_table, write_value

documents = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.binary(max_size=3))


def rows_of(found, order):
    keys = order.permutation(found) if order is not None else list(found)
    return Rows(tuple(keys), tuple(found[key] for key in keys))


class Order:
    def __init__(self, data):
        self._data = data

    def permutation(self, found):
        return self._data.draw(st.permutations(sorted(found)))


@given(st.data(), documents, documents)
def test_a_change_of_rows_makes_the_new_ones_of_the_old(data, before, after):
    old, new = rows_of(before, Order(data)), rows_of(after, Order(data))
    known = read_result(write_rows(old, None, 1), None)
    assert known.rows == old
    assert read_result(write_rows(new, old, 2), known).rows == new


def test_an_unchanged_row_is_not_sent():
    old = Rows(tuple(map(str, range(1000))), (b"x" * 100,) * 1000)
    new = Rows(old.ids, (*old.texts[:500], b"y", *old.texts[501:]))
    sent = write_rows(new, old, 2)
    assert len(sent) < 100
    moved = Rows(old.ids[::-1], old.texts)
    assert read_result(write_rows(moved, old, 3), read_result(write_rows(old, None, 1), None)).rows


def test_rows_without_ids_travel_whole():
    old, new = Rows(None, (b"1",)), Rows(None, (b"1", b"2"))
    known = read_result(write_rows(old, None, 1), None)
    assert read_result(write_rows(new, old, 2), known).rows == new


def test_values_and_tables_come_as_they_are():
    assert read_result(write_value(b"3", 1), None).text == b"3"
    assert read_result(write_table(b"arrow", 4), None)[:1] == (4,)
    assert read_result(write_table(b"arrow", 4), None).stream == b"arrow"


@pytest.mark.parametrize("known", [None, write_value(b"3", 1), write_rows(Rows(None, ()), None, 1)])
def test_a_change_of_nothing_known_is_refused(known):
    old = Rows(("a",), (b"1",))
    change = write_rows(old, old, 2)
    with pytest.raises(ProtocolError):
        read_result(change, None if known is None else read_result(known, None))


def test_a_change_beyond_the_rows_known_is_refused():
    old, longer = Rows(("a",), (b"1",)), Rows(("a", "b"), (b"1", b"2"))
    known = read_result(write_rows(old, None, 1), None)
    with pytest.raises(ProtocolError):
        read_result(write_rows(longer, longer, 2), known)
