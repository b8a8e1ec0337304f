"""Ids by the column are the ids of `livedb.ids`."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.clock import ManualClock
from livedb.errors import InvalidIdError
from livedb.ids import IdFactory, decode_id, encode_id
from livedb.store.id_columns import (
    decode_ids,
    first_sequence,
    has_duplicates,
    new_ids,
    random_of,
    sequences_of,
)

NUMBERS = st.integers(0, 2**32 - 1) | st.integers(10_001, 10_100)
INTERNALS = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize("table_number", [10_001, 16_383, 16_384, 127, 128])
def test_new_ids_decode_to_their_table_sequence_and_random_bytes(table_number: int) -> None:
    random = bytes(range(40))
    column = new_ids(table_number, 5, first_sequence=2**63 + 7, random=random)
    for place, text in enumerate(column.ids.to_pylist()):
        sequence = (2**63 + 7 + place).to_bytes(8, "big")
        assert decode_id(text) == (table_number, sequence + random[8 * place : 8 * place + 8])
    assert column.sequences.to_pylist() == [2**63 + 7 + place for place in range(5)]


@given(st.lists(st.tuples(NUMBERS, INTERNALS)))
def test_decoding_a_column_agrees_with_decoding_each(ids: list[tuple[int, bytes]]) -> None:
    texts = pa.array([encode_id(*each) for each in ids], pa.string())
    found = decode_ids(texts)
    assert found.table_numbers.tolist() == [number for number, _ in ids]
    assert [row.tobytes() for row in found.internals] == [internal for _, internal in ids]
    assert sequences_of(found).to_pylist() == [
        int.from_bytes(internal[:8], "big") for _, internal in ids
    ]


CHARACTERS = st.sampled_from("0123456789abcdefghjkmnpqrstvwxyziloA é")


@given(NUMBERS, INTERNALS, st.integers(0, 36), CHARACTERS)
def test_a_changed_character_is_no_id(number: int, internal: bytes, at: int, new: str) -> None:
    text = encode_id(number, internal)
    changed = text[:at] + new + text[at + 1 :]
    try:
        expected = decode_id(changed)[0]
    except InvalidIdError:
        expected = 0
    assert decode_ids(pa.array([changed, None, text])).table_numbers.tolist() == [
        expected,
        0,
        number,
    ]


def test_a_slice_decodes_as_itself() -> None:
    column = new_ids(10_001, 9, first_sequence=5, random=bytes(72)).ids
    assert decode_ids(column.slice(3, 4)).table_numbers.tolist() == [10_001] * 4
    assert sequences_of(decode_ids(column.slice(3, 4))).to_pylist() == [8, 9, 10, 11]


def test_duplicates_are_seen() -> None:
    found = decode_ids(new_ids(10_001, 9, first_sequence=5, random=bytes(72)).ids)
    assert not has_duplicates(found.internals)
    assert has_duplicates(found.internals[[1, 2, 3, 1]])


def test_the_first_sequence_is_above_those_given_out() -> None:
    clock = ManualClock(seed=1)
    factory = IdFactory(clock)
    before = factory.new(10_001)
    column = new_ids(
        10_001, 3, first_sequence=first_sequence(factory, 10_001), random=random_of(clock, 3)
    )
    assert decode_id(before)[1] < decode_id(column.ids[0].as_py())[1]
