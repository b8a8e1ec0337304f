"""The packed base: positions between keys, columns of rows that do or do not lie side by side."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.ids import encode_id
from livedb.schema.tables import IndexDefinition
from livedb.store import contract, segment
from livedb.store.loaded import LoadedTable
from livedb.store.segment import Segment
from livedb.text import encode_fields

INDEXES = [IndexDefinition("by_a", ("a",))]


def segment_of(values, *, times=None):
    """Documents with ids in the order of `values`."""
    ids = [encode_id(10_001, number.to_bytes(16, "big")) for number in range(len(values))]
    texts = [encode_fields({"a": value, "n": number}) for number, value in enumerate(values)]
    creation_times = times or [1e12 + number for number in range(len(values))]
    return Segment(
        LoadedTable(
            number=1,
            ids=pa.array(ids, pa.string()),
            creation_times=pa.array(creation_times, pa.float64()),
            texts=pa.array(texts, pa.large_binary()),
        ),
        INDEXES,
    )


@given(
    values=st.lists(st.sampled_from(["", "a", "ab", 1, None]), max_size=150),
    data=st.data(),
    limit=st.integers(1, 40),
    reverse=st.booleans(),
)
def test_a_span_is_what_lies_between_two_keys(values, data, limit, reverse):
    packed = segment_of(values)
    packed._check()
    order = packed.orders[data.draw(st.sampled_from(["by_a", "by_id", "by_creation_time"]))]
    keys = order.keys(0, len(values))
    bounds = st.sampled_from([b"", b"\x10a", b"\xff", *keys, *(key + b"\x00" for key in keys)])
    lower, upper = data.draw(bounds), data.draw(bounds | st.none())
    inside = [k for k, key in enumerate(keys) if lower <= key and (upper is None or key < upper)]
    expected = inside[-limit:] if reverse else inside[:limit]
    start, end, bound = order.span(lower, upper, limit, reverse=reverse)
    assert list(range(start, end)) == expected
    if len(inside) <= limit:
        assert bound is None
    else:
        assert bound == keys[start if reverse else end]


@pytest.mark.parametrize("values", ["aaaa", "dcba", "abab"])
def test_a_block_has_the_documents_of_its_positions(values):
    packed = segment_of(list(values))
    order = packed.orders["by_a"]
    found = [document.a for document in order.block(0, 4).documents()]
    assert found == sorted(values)
    for start, end in pairwise(range(5)):
        assert [document.a for document in order.block(start, end).documents()] == [found[start]]


@pytest.fixture
def decoded(monkeypatch):
    """How many documents are decoded, block by block."""
    counts = []
    decode = contract.decode_block

    def count(ids, creation_times, texts):
        counts.append(len(ids))
        return decode(ids, creation_times, texts)

    monkeypatch.setattr(contract, "decode_block", count)
    return counts


def test_a_block_read_again_and_again_is_decoded_twice(decoded):
    order = segment_of(["a"] * 200).orders["by_a"]
    for _ in range(5):
        assert len(order.kept_block(20, 50).documents()) == 30
    assert decoded == [30, 30]


def test_kept_blocks_are_bounded(monkeypatch):
    monkeypatch.setattr(segment, "_WANTED_MAX", 3)
    packed = segment_of(["a"] * 200)
    before = packed.size_bytes
    order = packed.orders["by_a"]
    for start in range(150):
        order.kept_block(start, start + 20)
        order.kept_block(start, start + 20)
    assert packed.kept.documents <= 50
    assert packed.size_bytes - before == packed.kept.documents * segment._KEPT_BYTES
    assert len(packed.kept._wanted) <= 3
    for _ in range(3):
        order.kept_block(0, 100)
    assert packed.kept.documents <= 50


def test_rows_out_of_order_are_gathered():
    packed = segment_of(["b", "a", "b", "a"], times=list(np.array([4.0, 3.0, 2.0, 1.0])))
    packed._check()
    assert [document.n for document in packed.orders["by_a"].block(0, 4).documents()] == [
        3,
        1,
        2,
        0,
    ]
