from __future__ import annotations

import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from livedb.clock import ManualClock, SystemClock
from livedb.errors import InvalidIdError
from livedb.ids import (
    FIRST_TABLE_NUMBER,
    Id,
    IdFactory,
    decode_id,
    encode_id,
    sequence_of,
    table_number_of,
)

VECTORS = [
    ("z43zp6c3e75gkmz1kfwj6mbbx5sw281h", 1017, "fb198371cb09d3e19bf923516be973c1"),
    ("kg27rxfv99gzp01wmph0gvt92d6hnvy6", 540, "7c75fb4a61fb003ca5a2086f49134d1a"),
]
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

table_numbers = (
    st.sampled_from([0, 1, 127, 128, FIRST_TABLE_NUMBER, 16_383, 16_384, 2**21, 2**28, 2**32 - 1])
    | st.integers(0, 2**32 - 1)
    | st.integers(FIRST_TABLE_NUMBER, FIRST_TABLE_NUMBER + 20_000)
)
internals = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize("text, number, internal", VECTORS)
def test_ids_of_convex_are_read_and_written(text, number, internal):
    assert decode_id(text) == (number, bytes.fromhex(internal))
    assert encode_id(number, bytes.fromhex(internal)) == text


@given(table_numbers, internals)
@example(FIRST_TABLE_NUMBER, bytes(16))
@example(FIRST_TABLE_NUMBER, b"\xff" * 16)
def test_an_id_comes_back(number, internal):
    text = encode_id(number, internal)
    assert 31 <= len(text) <= 37
    assert set(text) <= set(ALPHABET)
    assert decode_id(text) == (number, internal)
    assert table_number_of(text) == number
    assert sequence_of(text) == int.from_bytes(internal[:8])


@given(st.text(ALPHABET, min_size=31, max_size=37))
@example("0" * 31)
@example("0" * 32)
@example("z" * 37)
def test_whatever_is_accepted_is_the_one_text_of_its_id(text):
    try:
        number, internal = decode_id(text)
    except InvalidIdError:
        return
    assert encode_id(number, internal) == text


@given(table_numbers, internals, st.data())
def test_one_changed_character_is_noticed_or_another_id(number, internal, data):
    text = encode_id(number, internal)
    index = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.sampled_from(ALPHABET + "ilou-_ A"))
    forged = text[:index] + character + text[index + 1 :]
    try:
        decoded = decode_id(forged)
    except InvalidIdError:
        return
    assert encode_id(*decoded) == forged


GOOD = VECTORS[0][0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        GOOD[:-1],
        GOOD + "0",
        GOOD.upper(),
        GOOD[:-1] + "i",
        GOOD[:-1] + "u",
        " " + GOOD[1:],
        GOOD[:5] + "_" + GOOD[6:],
        "-" + GOOD[1:],
        "+" + GOOD[1:],
        GOOD[:-1] + "\n",
        GOOD[:-1] + "\u0663",
        "\U0001f600" * 32,
        "\ud800" * 32,
        "0" * 10_000_000,
        # Checksums of another version, and of no version.
        GOOD[:-4] + "0000",
        None,
        3,
        b"z43zp6c3e75gkmz1kfwj6mbbx5sw281h",
        ["z"] * 32,
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(InvalidIdError) as caught:
        decode_id(text)
    assert len(str(caught.value)) < 120


def test_a_table_number_in_a_longer_form_is_refused():
    # 0x80 0x00 is the number 0 in two bytes; one byte says it too.
    from livedb.ids import _base32, _checksum

    for form in (b"\x80\x00", b"\xff\x00", b"\x81\x80\x00", b"\x80\x80\x80\x80\x10"):
        body = form + bytes(16)
        with pytest.raises(InvalidIdError):
            decode_id(_base32(body + _checksum(body)))


class TestIdFactory:
    @pytest.mark.parametrize("table", [127, 128, FIRST_TABLE_NUMBER, 16_383, 16_384, 20_000])
    def test_new_ids_are_of_their_table_and_grow(self, table):
        factory = IdFactory(SystemClock())
        ids = [factory.new(table) for _ in range(1000)]
        assert {table_number_of(text) for text in ids} == {table}
        sequences = [sequence_of(text) for text in ids]
        assert sequences == sorted(set(sequences))

    def test_the_sequence_is_the_microsecond(self):
        clock = ManualClock()
        text = IdFactory(clock).new(FIRST_TABLE_NUMBER)
        assert sequence_of(text) >> 12 == clock.now_ns() // 1000

    def test_they_grow_when_the_clock_stands_still_or_goes_back(self):
        clock = ManualClock()
        factory = IdFactory(clock)
        sequences = []
        for step_ns in (0, 0, -(10**12), 0, 10**9, -1):
            clock.set_ns(clock.now_ns() + step_ns)
            sequences.append(sequence_of(factory.new(FIRST_TABLE_NUMBER)))
        assert sequences == sorted(set(sequences))

    def test_they_grow_when_even_randomness_stands_still(self):
        class StuckClock(ManualClock):
            def random_bytes(self, count):
                return bytes(count)

        factory = IdFactory(StuckClock())
        ids = [factory.new(FIRST_TABLE_NUMBER) for _ in range(5)]
        assert ids == sorted(set(ids))

    def test_one_seed_gives_the_same_ids(self):
        first, again, other = (
            [IdFactory(ManualClock(seed=seed)).new(FIRST_TABLE_NUMBER) for _ in range(3)]
            for seed in (1, 1, 2)
        )
        assert first == again != other

    def test_threads_share_one_factory(self):
        factory = IdFactory(SystemClock())
        ids = [[] for _ in range(4)]

        def make(mine):
            mine.extend(factory.new(FIRST_TABLE_NUMBER) for _ in range(2000))

        threads = [threading.Thread(target=make, args=(mine,)) for mine in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({sequence_of(text) for mine in ids for text in mine}) == 8000


def test_the_annotation_takes_a_class_or_a_name():
    class User:
        pass

    assert Id[User].__args__ == (User,)
    assert Id["users"]
