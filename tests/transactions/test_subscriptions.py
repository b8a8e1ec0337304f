"""Which subscriptions a commit touches: the index agrees with asking every read set in turn."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from livedb.keys.encoding import encode_key, encode_parts, prefix_end
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.search.reads import TextRead, VectorRead
from livedb.search.vectors import VectorQuery, unit
from livedb.search.words import text_query
from livedb.store.contract import StoredDocument, Write
from livedb.text import encode_fields
from livedb.transactions.reads import RangeRead, ReadSet, WriteSet
from livedb.transactions.subscriptions import SubscriptionIndex
from tests.thorough import examples

TABLES = st.integers(1, 2)
IDS = st.sampled_from(["a", "b", "c"])
NAMES = st.sampled_from(["t1", "t2", "t3"])
PARTS = st.sampled_from([None, 1, 2, 3, "x"])


@st.composite
def keys(draw):
    """A full key of the index `i`: two fields and the id."""
    return b"".join(encode_parts([draw(PARTS), draw(PARTS), draw(IDS)]))


@st.composite
def range_reads(draw):
    prefix = b"".join(encode_parts(draw(st.lists(PARTS, max_size=2))))
    index = draw(st.sampled_from(["i", "by_id"]))
    if index == "by_id":
        prefix = b""
    ends = sorted(
        draw(st.lists(PARTS.map(lambda part: prefix + encode_key(part)), min_size=2, max_size=2))
    )
    lower = prefix if draw(st.booleans()) else ends[0]
    upper = (prefix_end(prefix) if prefix else None) if draw(st.booleans()) else ends[1]
    read = RangeRead(draw(TABLES), index, prefix, lower, upper, reverse=draw(st.booleans()))
    read.is_exhausted = draw(st.booleans())
    if not read.is_exhausted and draw(st.booleans()):
        inside = draw(keys()) if index == "i" else encode_key(draw(IDS))
        if lower <= inside and (upper is None or inside < upper):
            read.last_key = inside
    return read


TEXT = SearchIndexDefinition("body", ("who",), "by_text")
VECTOR = VectorIndexDefinition("at", 2, ("who",), "by_at")
WORDS = st.sampled_from(["a", "ab", "abc", "b", "c"])
EQUALITIES = st.lists(st.integers(0, 1).map(lambda n: (0, encode_key(n))), max_size=1).map(tuple)
TEXT_READS = st.builds(
    TextRead,
    TABLES,
    st.just(TEXT),
    st.lists(WORDS, min_size=1, max_size=2).map(lambda words: text_query(" ".join(words))),
    EQUALITIES,
)
VECTORS = st.sampled_from([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
VECTOR_READS = st.builds(
    VectorRead,
    TABLES,
    st.just(VECTOR),
    st.builds(lambda at, any_of: VectorQuery(unit(at).tobytes(), 3, any_of), VECTORS, EQUALITIES),
    st.none() | st.tuples(st.sampled_from([1.0, 0.5, 0.0, -1.0]), IDS),
)
DOCUMENTS = st.builds(
    lambda words, who, at: StoredDocument(
        1.0, encode_fields({"body": " ".join(words), "who": who, "at": at})
    ),
    st.lists(WORDS, max_size=2),
    st.integers(0, 1),
    VECTORS | st.just([1.0]),
)


@st.composite
def read_sets(draw):
    reads = ReadSet()
    reads.searches = draw(st.sets(TEXT_READS | VECTOR_READS, max_size=3))
    reads.points = draw(st.sets(st.tuples(TABLES, IDS), max_size=2))
    reads.ranges = draw(st.lists(range_reads(), max_size=4))
    reads.names = draw(st.sets(NAMES, max_size=1))
    reads.whole_tables = draw(st.sets(TABLES, max_size=1))
    return reads


@st.composite
def writes(draw):
    first, second = draw(DOCUMENTS), draw(DOCUMENTS)
    old, new = draw(st.sampled_from([(None, first), (first, None), (first, second)]))
    old_keys = None if old is None else (draw(keys()),)
    new_keys = None if new is None else (draw(keys()),)
    return Write(draw(TABLES), draw(IDS), old, new, ("i",), old_keys, new_keys)


CHANGES = st.builds(
    WriteSet,
    st.lists(writes(), max_size=3).map(tuple),
    st.frozensets(NAMES, max_size=1),
    st.frozensets(TABLES, max_size=1),
)


@settings(max_examples=examples(150))
@given(
    first=st.lists(read_sets(), max_size=6),
    second=st.lists(st.none() | read_sets(), max_size=6),
    changes=st.lists(CHANGES, min_size=1, max_size=3),
)
def test_the_index_agrees_with_every_read_set(first, second, changes):
    index: SubscriptionIndex[int] = SubscriptionIndex()
    followed = dict(enumerate(first))
    for number, reads in followed.items():
        index.follow(number, reads)
    for number, reads in enumerate(second):  # replaced, new, or gone
        if reads is None:
            index.remove(number)
            followed.pop(number, None)
        else:
            index.follow(number, reads)
            followed[number] = reads
    assert len(index) == len(followed)
    for change in changes:
        expected = {n for n, reads in followed.items() if reads.first_conflict(change) is not None}
        assert index.touched(change) == expected
    for number in list(followed):
        index.remove(number)
    assert index.touched(WriteSet((), frozenset(["t1", "t2", "t3"]), frozenset([1, 2]))) == set()
    assert index._ranges == {}
    for multimap in (index._points, index._names, index._whole_tables, index._tables):
        assert multimap.by_key == {}


def exhausted(lower, upper, prefix=b""):
    read = RangeRead(1, "i", prefix, lower, upper)
    read.is_exhausted = True
    return read


def write_at(part):
    key = b"".join(encode_parts([part, 0, "a"]))
    stored = StoredDocument(1.0, b"\x00{}")
    return WriteSet((Write(1, "a", None, stored, ("i",), None, (key,)),), frozenset(), frozenset())


def test_many_ranges_in_many_blocks():
    index: SubscriptionIndex[int] = SubscriptionIndex()
    for n in range(500):
        reads = ReadSet()
        reads.ranges = [exhausted(encode_key(n), encode_key(n + 3))]
        index.follow(n, reads)
    for n in (0, 1, 250, 499):
        assert index.touched(write_at(n)) == {m for m in (n - 2, n - 1, n) if m >= 0}
    for n in range(0, 500, 2):
        index.remove(n)
    assert index.touched(write_at(250)) == {249}


def test_one_subscription_may_read_one_range_twice():
    index: SubscriptionIndex[str] = SubscriptionIndex()
    reads = ReadSet()
    reads.ranges = [exhausted(b"", None), exhausted(b"", None)]
    index.follow("s", reads)
    index.remove("s")
    assert index.touched(write_at(1)) == set()


def test_removing_what_is_not_there_is_harmless():
    index: SubscriptionIndex[str] = SubscriptionIndex()
    index.remove("never")
    assert len(index) == 0
