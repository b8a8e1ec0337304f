from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.commitlog.payload import (
    ClearPart,
    DocumentsPart,
    DocumentWrite,
    FillPart,
    FunctionsPart,
    LoadPart,
    SchemaPart,
    SettingsPart,
    decode_payload,
    encode_payload,
)
from livedb.errors import DamagedError, FormatError

WRITES = st.lists(
    st.builds(
        DocumentWrite,
        st.integers(0, 2**31),
        st.text(max_size=40),
        st.floats(allow_nan=False),
        st.none() | st.binary(),
    )
)
PARTS = st.lists(
    st.builds(DocumentsPart, WRITES)
    | st.builds(LoadPart, st.integers(0, 2**31), st.text(), st.integers(0, 2**60), st.binary())
    | st.builds(SchemaPart, st.binary(), st.lists(st.text()))
    | st.builds(FunctionsPart, st.binary())
    | st.builds(FillPart, st.integers(0, 2**31), st.dictionaries(st.text(), st.binary()))
    | st.builds(ClearPart, st.integers(0, 2**31))
    | st.builds(SettingsPart, st.binary())
)


@given(PARTS)
def test_parts_come_back_as_they_went(parts):
    assert decode_payload(encode_payload(parts)) == parts


def test_the_bytes_of_version_1_stay_as_they_are():
    """What an older livedb wrote must be read for ever: these bytes never change."""
    parts = [
        DocumentsPart(
            [DocumentWrite(10_001, "k57", 1.5, b"\x00{}"), DocumentWrite(2, "x", 0.0, None)]
        ),
        LoadPart(3, "f.parquet", 7, b"\x01"),
        SchemaPart(b"{}", ["old"]),
        FunctionsPart(b"f"),
        SettingsPart(b"s"),
    ]
    written = bytes.fromhex(
        "9592ab646f63756d656e74733a319294cd2711a36b3537cb3ff8000000000000c403007b7d9402a178cb00000000"
        "00000000c095a66c6f61643a3103a9662e7061727175657407c4010193a8736368656d613a31c4027b7d91a36f6c"
        "6492ab66756e6374696f6e733a31c4016692aa73657474696e67733a31c40173"
    )
    assert encode_payload(parts) == written
    assert decode_payload(written) == parts


def test_the_bytes_of_a_fill_stay_as_they_are():
    parts = [FillPart(3, {"status": b'"todo"'})]
    written = bytes.fromhex("9193a666696c6c3a310381a6737461747573c40622746f646f22")
    assert encode_payload(parts) == written
    assert decode_payload(written) == parts


def test_the_bytes_of_a_clear_stay_as_they_are():
    parts = [ClearPart(3)]
    written = bytes.fromhex("9192a7636c6561723a3103")
    assert encode_payload(parts) == written
    assert decode_payload(written) == parts


@pytest.mark.parametrize("tag", ["documents:2", "load:17", "indexes:1"])
def test_a_part_of_a_newer_livedb_is_refused_by_name(tag):
    data = msgspec.msgpack.encode([["settings:1", b""], [tag, {"anything": 1}]])
    with pytest.raises(FormatError, match=f"{tag}.*newer livedb"):
        decode_payload(data)


@pytest.mark.parametrize(
    "value",
    [None, 7, "text", [7], [[]], [["documents"]], [["documents:1", 7]], [["documents:0", []]]],
)
def test_bytes_that_nobody_wrote_are_damage(value):
    with pytest.raises(DamagedError):
        decode_payload(msgspec.msgpack.encode(value))


@given(st.binary())
def test_any_bytes_are_read_or_refused(data):
    try:
        parts = decode_payload(data)
    except (DamagedError, FormatError):
        return
    assert decode_payload(encode_payload(parts)) == parts
