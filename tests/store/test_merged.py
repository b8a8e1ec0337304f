"""Changes put into a block of the base: work in proportion to them, whatever is read of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livedb.store import merged
from livedb.store.contract import Block, StoredDocument
from livedb.store.merged import Merge, MergedBlock, Row
from livedb.text import encode_fields
from tests.store.test_segment import segment_of

BASE = segment_of([n // 3 for n in range(60)])
ORDER = BASE.orders["by_a"]
START, END = 10, 40


def row(mark, number):
    return Row(mark, f"id{number}", StoredDocument(1.0, encode_fields({"a": 0, "new": number})))


def plain(rows):
    """The same block, entry by entry."""
    base = ORDER.block(START, END).entries()
    return [
        base[row]
        if isinstance(row, int)
        else merged.Entry(
            base[row.mark].key if isinstance(row.mark, int) else row.mark, row.id, row.document
        )
        for row in rows
    ]


HOME = st.lists(st.sampled_from(["kept", "gone", "changed"]), min_size=30, max_size=30)
ADDED = st.sets(st.integers(0, 59 * 2 + 1), max_size=6)


def key_between(half):
    """A key that the base does not have: just below or just above one of its own."""
    key = ORDER.key_at(half // 2)
    return key + b"\x00" if half % 2 else key[:-1]


@given(home=HOME, added=ADDED, limit=st.integers(1, 40), reverse=st.booleans())
def test_a_merge_is_that_of_its_entries(home, added, limit, reverse):
    rows = [
        place if fate == "kept" else row(place, place)
        for place, fate in enumerate(home)
        if fate != "gone"
    ]
    changes = [row(key_between(half), 100 + half) for half in sorted(added)]
    merge = Merge(ORDER.block(START, END), list(rows), ORDER, START)
    merge.add(changes)
    block, rest = merge.block(limit, reverse=reverse)
    everything = sorted([*plain(rows), *plain(changes)])
    expected = everything[-limit:] if reverse else everything[:limit]
    assert block.entries() == expected
    assert block.ids == [entry.id for entry in expected]
    assert block.documents() == Block.of_entries(expected).documents()
    assert block.size_bytes == sum(len(entry.document.text) for entry in expected)
    if expected:
        assert (block.first_key, block.last_key) == (expected[0].key, expected[-1].key)
    if len(everything) <= limit:
        assert rest is None
    else:
        assert rest == (expected[0].key if reverse else expected[-1].key + b"\x00")


def test_the_rest_of_a_kept_block_is_not_decoded_again(monkeypatch):
    decoded = []
    decode = merged.decode_block
    monkeypatch.setattr(
        merged, "decode_block", lambda ids, *rest: decoded.append(len(ids)) or decode(ids, *rest)
    )
    base = ORDER.block(START, END)
    base.keep_documents()
    monkeypatch.setattr(
        "livedb.store.contract.decode_block", lambda *_: AssertionError("the base is kept")
    )
    rows = [*range(5), row(5, 5), *range(6, 30)]
    assert len(MergedBlock(base, rows, ORDER, START).documents()) == 30
    assert decoded == [1]
