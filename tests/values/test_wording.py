"""Numbers in words."""

from __future__ import annotations

import pytest

from livedb.wording import counted, listed, size_text


@pytest.mark.parametrize(
    "count, text", [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1234, "1,234 rows")]
)
def test_one_is_one_and_everything_else_is_several(count, text):
    assert counted(count, "row") == text


def test_a_list_names_its_last_with_the_joint():
    assert listed(["a"], "or") == "a"
    assert listed(["a", "b", "c"], "or") == "a, b or c"
    assert listed(["a", "b"]) == "a and b"


@pytest.mark.parametrize(
    "size_bytes, text",
    [
        (1, "1 byte"),
        (1023, "1,023 bytes"),
        (1536, "1.5 KiB"),
        (3 << 20, "3.0 MiB"),
        (8 << 30, "8.0 GiB"),
    ],
)
def test_a_size_is_said_in_the_largest_unit_of_which_there_is_one(size_bytes, text):
    assert size_text(size_bytes) == text
