"""The order of changed keys counts them, since a document may come back to where it was."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from livedb.schema.tables import IndexDefinition
from livedb.store.contract import StoredDocument, Write
from livedb.store.indexes import ChangedOrder, IndexKeys
from livedb.text import encode_fields

KEYS = st.sampled_from([b"a", b"a\x00", b"b", b"c"])
INDEX_KEYS = IndexKeys([IndexDefinition("by_a", ("a",))])


@given(steps=st.lists(st.tuples(KEYS, st.booleans())), lower=KEYS, upper=KEYS | st.none())
def test_a_key_is_there_until_it_is_removed_as_often_as_added(steps, lower, upper):
    order, counts = ChangedOrder(), Counter()
    for key, is_added in steps:
        if is_added:
            order.add(key, key.decode())
            counts[key] += 1
        elif counts[key]:
            order.remove(key)
            counts[key] -= 1
        order._check()
    kept = sorted(key for key, count in counts.items() if count)
    inside = [key for key in kept if lower <= key and (upper is None or key < upper)]
    assert order.keys_between(lower, upper, 2, reverse=False) == inside[:2]
    assert order.keys_between(lower, upper, 2, reverse=True) == inside[::-1][:2]
    assert {order.id_of(key) for key in kept} == {key.decode() for key in kept}


def stored(a: object) -> StoredDocument:
    return StoredDocument(5.0, encode_fields({"a": a}))


def test_keys_are_taken_from_the_write():
    write = Write(1, "d", stored(1), stored(2), INDEX_KEYS.names, (b"x", b"y"), (b"x", b"z"))
    assert INDEX_KEYS.of_write(write, keys_known=True) == ((b"x", b"y"), (b"x", b"z"))


def test_keys_of_other_indexes_or_none_are_made_anew():
    expected = tuple(INDEX_KEYS.of_document("d", stored(a)) for a in (1, 2))
    other = ("by_creation_time", "by_b")
    for indexes, keys in ((other, (b"x", b"y")), ((), None)):
        write = Write(1, "d", stored(1), stored(2), indexes, keys, keys)
        assert INDEX_KEYS.of_write(write, keys_known=True) == expected
    write = Write(1, "d", None, stored(2), INDEX_KEYS.names, None, (b"x", b"y"))
    assert INDEX_KEYS.of_write(write, keys_known=False) == (None, expected[1])
