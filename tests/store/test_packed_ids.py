"""Ids without an object for each: what goes in comes out, and nothing else is found."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.ids import encode_id
from livedb.store.id_columns import new_ids
from livedb.store.packed_ids import GROUP_ROWS, PackedIds

internals = st.binary(min_size=16, max_size=16) | st.integers(0, 9000).map(
    lambda number: (number << 64).to_bytes(16, "big")
)


def packed(ids):
    return PackedIds(pa.array(ids, pa.string()))


def consecutive_ids(count):
    """Ids of documents that were loaded together."""
    random = (b"%016d" % 1) * count
    return new_ids(10_001, count, first_sequence=1 << 62, random=random[: 8 * count]).ids


@given(table=st.sampled_from([1, 127, 10_001, 2**32 - 1]), data=st.data())
def test_every_id_has_its_row_and_no_other_text_has_one(table, data):
    inside = data.draw(st.sets(internals, max_size=80))
    ids = sorted(encode_id(table, internal) for internal in inside)
    rows = packed(ids)
    rows._check()
    assert rows.between(0, len(ids)) == ids
    outside = encode_id(table, data.draw(internals.filter(lambda each: each not in inside)))
    for text in (outside, "", "z", encode_id(10_002, b"\x00" * 16)):
        assert rows.row_of(text) is None


@pytest.mark.parametrize("count", [1, 64, GROUP_ROWS - 1, GROUP_ROWS, GROUP_ROWS + 1, 2500])
def test_ids_of_several_groups_are_read_across_their_bounds(count):
    ids = consecutive_ids(count)
    rows, texts = PackedIds(ids), ids.to_pylist()
    rows._check()
    assert rows.between(0, count) == texts
    for first, end in [(0, 0), (count - 1, count), (count // 2, count), (63, 65), (1000, 1030)]:
        assert rows.between(min(first, count), min(end, count)) == texts[first:end]


def test_a_text_across_two_ids_is_none():
    ids = consecutive_ids(200).to_pylist()
    rows = packed(ids)
    for first, second in pairwise(ids):
        for cut in range(1, 32):
            assert rows.row_of(f"{first[cut:]}\n{second[: cut - 1]}") is None
            assert rows.row_of(f"{first[:cut]}\n{second[cut + 1 :]}") is None


def test_what_ids_share_is_kept_once():
    many = PackedIds(consecutive_ids(10 * GROUP_ROWS))
    assert many.size_bytes < 22 * len(many)
