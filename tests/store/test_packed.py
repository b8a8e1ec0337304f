"""The bytes of a text column, whatever its type and wherever it starts."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from livedb.store.packed import packed_texts

TYPES = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()]


@pytest.mark.parametrize("arrow", TYPES, ids=str)
def test_offsets_cut_the_bytes_into_the_values(arrow):
    column = pa.array(["skipped", "é", "", None, "bc"]).cast(arrow).slice(1)
    data, offsets = packed_texts(column)
    cuts = itertools.pairwise(offsets)
    assert [data[start:end].tobytes() for start, end in cuts] == ["é".encode(), b"", b"", b"bc"]
    assert len(data) == offsets[-1]


@pytest.mark.parametrize("arrow", TYPES, ids=str)
def test_a_column_without_rows_or_without_bytes_has_none(arrow):
    data, offsets = packed_texts(pa.array([], arrow))
    assert (len(data), offsets.tolist()) == (0, [0])
    data, offsets = packed_texts(pa.nulls(2, arrow))
    assert (len(data), offsets.tolist()) == (0, [0, 0, 0])
