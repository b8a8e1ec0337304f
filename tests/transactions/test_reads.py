"""Read sets: what was consumed counts, and nothing more."""

from __future__ import annotations

import pytest

from livedb.store.contract import StoredDocument, Write
from livedb.transactions.reads import RangeRead, ReadSet, WriteSet

STORED = StoredDocument(1.0, b"\x00{}")


def write(old=None, new=None, *, table=1, document="d", index="i"):
    return WriteSet(
        (
            Write(
                table,
                document,
                STORED if old else None,
                STORED if new else None,
                (index,),
                None if old is None else (old,),
                None if new is None else (new,),
            ),
        ),
        frozenset(),
        frozenset(),
    )


def reads_of(read):
    reads = ReadSet()
    reads.ranges.append(read)
    return reads


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_covers_what_it_consumed(reverse):
    read = RangeRead(1, "i", b"", b"b", b"y", reverse=reverse)
    reads = reads_of(read)
    assert reads.first_conflict(write(new=b"m")) is None
    read.last_key = b"m"
    seen, unseen = (b"n", b"l") if reverse else (b"l", b"n")
    assert reads.first_conflict(write(new=seen)) is not None
    assert reads.first_conflict(write(new=b"m")) is not None
    assert reads.first_conflict(write(new=unseen)) is None
    read.is_exhausted = True
    assert reads.first_conflict(write(new=unseen)) is not None
    assert reads.first_conflict(write(new=b"a")) is None
    assert reads.first_conflict(write(new=b"y")) is None


def test_the_old_key_counts_as_the_new_one_does():
    read = RangeRead(1, "i", b"", b"b", b"c")
    read.is_exhausted = True
    reads = reads_of(read)
    assert reads.first_conflict(write(old=b"b1", new=b"z")) is not None
    assert reads.first_conflict(write(old=b"z", new=b"b1")) is not None
    assert reads.first_conflict(write(old=b"z", new=b"z1")) is None
    assert reads.first_conflict(write(new=b"b1", table=2)) is None
    assert reads.first_conflict(write(new=b"b1", index="other")) is None


def test_a_point_conflicts_with_its_document_only():
    reads = ReadSet()
    reads.points.add((1, "d"))
    conflict = reads.first_conflict(write(new=b"x"))
    assert (conflict.table, conflict.index) == (1, "by_id")
    assert reads.first_conflict(write(new=b"x", document="e")) is None
    assert reads.first_conflict(write(new=b"x", table=2)) is None


def test_names_and_whole_tables():
    reads = ReadSet()
    reads.names.add("t")
    assert reads.first_conflict(WriteSet((), frozenset(["t"]), frozenset()))
    assert reads.first_conflict(WriteSet((), frozenset(["u"]), frozenset())) is None
    reads.whole_tables.add(1)
    assert reads.first_conflict(write(new=b"x")).table == 1
    assert reads.first_conflict(WriteSet((), frozenset(), frozenset([1])))
    assert reads.first_conflict(WriteSet((), frozenset(), frozenset([2]))) is None


def test_a_replaced_table_conflicts_with_every_read_of_it():
    for reads in (reads_of(RangeRead(1, "i", b"", b"", None)), ReadSet()):
        reads.points.add((1, "d"))
        assert reads.first_conflict(WriteSet((), frozenset(), frozenset([1]))) is not None


def test_merging_adds_everything():
    one, two = ReadSet(), reads_of(RangeRead(2, "i", b"", b"", None))
    two.points.add((1, "d"))
    two.names.add("t")
    two.whole_tables.add(3)
    one.merge(two)
    assert one.tables() == {1, 2, 3}
    assert one.names == {"t"}
