"""A block hands out private documents by the column, and makes a key only when asked for it."""

from __future__ import annotations

import pytest

from livedb.store.contract import Block, Entry, StoredDocument
from livedb.text import encode_fields
from livedb.values import Document, Int64


class Order:
    """Keys by position, counting how many are made."""

    def __init__(self):
        self.made = 0

    def key_at(self, position):
        self.made += 1
        return b"key %d" % position

    def keys(self, start, end):
        return [self.key_at(position) for position in range(start, end)]


def block_of(*documents, start=7):
    texts = b"".join(map(encode_fields, documents))
    ids = [f"id{number}" for number in range(len(documents))]
    times = [float(number) for number in range(len(documents))]
    order = Order()
    return Block(ids, times, texts, range(start, start + len(documents)), order), order


PLAIN = ({"a": 1}, {"a": None, "b": "{["}, {})
NESTED = ({"a": [1]}, {"a": {"b": 2}}, {"a": 1})
TAGGED = ({"a": b"\x00\x01"}, {"a": Int64(4)}, {"a": float("inf"), "b": "\x00\x01\n"})


@pytest.mark.parametrize("fields", [PLAIN, NESTED, TAGGED])
@pytest.mark.parametrize("is_kept", [False, True])
def test_documents_are_whole_and_private(fields, is_kept):
    block, order = block_of(*fields)
    if is_kept:
        block.keep_documents()
    for _ in range(2):
        found = block.documents()
        for number, (document, expected) in enumerate(zip(found, fields, strict=True)):
            assert type(document) is Document
            assert document == {**expected, "_id": f"id{number}", "_creationTime": float(number)}
            document["a"] = "changed"
        nested = found[0].get("b")
        if isinstance(nested, dict):
            nested["c"] = "changed"
    assert order.made == 0


def test_a_list_in_a_kept_block_is_private_too():
    block, _ = block_of(*NESTED)
    block.keep_documents()
    block.documents()[0]["a"].append("changed")
    assert block.documents()[0]["a"] == [1]


def test_the_last_key_is_the_only_one_made():
    block, order = block_of(*PLAIN)
    assert block.last_key == b"key 9"
    assert block.in_reverse().last_key == b"key 7"
    assert order.made == 2


@pytest.mark.parametrize("fields", [PLAIN, NESTED, TAGGED])
def test_entries_hold_what_was_stored(fields):
    block, _ = block_of(*fields)
    expected = [
        Entry(b"key %d" % (7 + n), f"id{n}", StoredDocument(float(n), encode_fields(each)))
        for n, each in enumerate(fields)
    ]
    assert block.entries() == expected
    assert Block.of_entries(expected).entries() == expected
    assert Block.of_entries(expected).in_reverse().entries() == expected[::-1]
    assert block.size_bytes == sum(len(entry.document.text) for entry in expected)


def test_in_reverse_everything_comes_in_reverse():
    block, _ = block_of(*PLAIN)
    reverse = block.in_reverse()
    assert len(reverse) == 3
    assert reverse.documents() == block.documents()[::-1]
    assert reverse.entries() == block.entries()[::-1]
