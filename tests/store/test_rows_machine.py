"""The row store against a model, under any order of commits, undos, folds, packing and reads."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from livedb.errors import SnapshotTooOldError
from livedb.store import segment
from livedb.store.rows import RowStore
from tests.store.contract_suite.world import INDEX_NAMES, OTHER, TABLE, World, document_id
from tests.thorough import examples

BLOCK_ROWS = 16
DOCUMENTS = 45  # more than a block of a segment's order
VALUES = st.sampled_from([None, 0, 1, 2.5, -0.0, "", "a", "a\x00", "b" * 40, float("nan"), b"x"])
FIELDS = st.none() | st.fixed_dictionaries(
    {}, optional={"a": VALUES, "b": st.fixed_dictionaries({"c": VALUES}) | VALUES}
)
CHANGES = st.dictionaries(st.integers(0, DOCUMENTS), FIELDS, min_size=1, max_size=8)


class RowStoreMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(segment, "BLOCK_ROWS", BLOCK_ROWS)

    @initialize(
        documents=st.dictionaries(st.integers(0, DOCUMENTS), FIELDS, max_size=DOCUMENTS),
        is_folded=st.booleans(),
    )
    def begin(self, documents, is_folded):
        self.world = World(
            lambda world: RowStore(
                load=world.load,
                indexes_of=world.indexes_of,
                estimate_bytes=world.estimate_bytes,
                backlog=world.backlog,
                limits=world.limits(),
            )
        )
        self.store = self.world.store
        self.world.commit({document_id(n): fields for n, fields in documents.items()})
        if is_folded:
            self.world.fold()
            self.store.count(TABLE, number=self.world.number)
        # What is promised to be readable. A reset, or a load, may raise it; undo may lower it.
        self.oldest = self.world.folded
        self.scans = []

    @rule(changes=CHANGES)
    def commit(self, changes):
        self.world.commit({document_id(n): fields for n, fields in changes.items()})

    @rule()
    def commit_elsewhere(self):
        self.world.commit({document_id(1, OTHER): {"a": self.world.number}}, table=OTHER)

    @rule(back=st.integers(1, 4))
    def undo(self, back):
        number = max(self.world.number - back, self.world.folded, self.world.released)
        self.world.undo(number)
        self.scans = [scan for scan in self.scans if scan[0] <= number]

    @rule(changes=CHANGES, others=CHANGES)
    def commit_and_undo(self, changes, others):
        number = self.world.number
        self.commit(changes)
        self.commit(others)
        self.world.undo(number)
        if self._is_promised(number):
            self.world.check(number)

    @rule(back=st.integers(0, 6))
    def fold(self, back):
        self.world.fold(max(self.world.folded, self.world.number - back))
        self._note_oldest()

    @rule(back=st.integers(0, 6))
    def release(self, back):
        self.world.release(max(0, self.world.number - back))
        self.oldest = max(self.oldest, self.world.released)

    @rule()
    def repack(self):
        self.store.repack(TABLE)

    @rule(is_load=st.booleans())
    def reset(self, is_load):
        """As a bulk load does, with everything folded, or a change of indexes only."""
        number = self.world.commit({})
        if is_load:
            self.world.fold()
        self.store.reset(TABLE, number, load_from=None if is_load else 0)
        self.oldest = max(self.oldest, number)

    @rule(data=st.data(), index=st.sampled_from(INDEX_NAMES), reverse=st.booleans())
    def scan_between_any_bounds(self, data, index, reverse):
        number = self._any_number(data)
        keys = [entry.key for entry in self.world.expected(index, number=number)]
        bounds = st.sampled_from([b"", b"\xff", *keys, *(key + b"\x00" for key in keys)])
        lower, upper = data.draw(bounds), data.draw(bounds | st.none())
        if self._is_promised(number):
            found = self.world.scan(index, lower, upper, number=number, reverse=reverse)
            expected = self.world.expected(index, lower, upper, number=number, reverse=reverse)
            assert found == expected

    @rule(data=st.data(), document=st.integers(0, DOCUMENTS + 1))
    def get(self, data, document):
        number = self._any_number(data)
        key_id = document_id(document)
        try:
            found = self.store.get(TABLE, key_id, number=number)
        except SnapshotTooOldError:
            assert not self._is_promised(number)
        else:
            assert found == self.world.states[number][TABLE].get(key_id)
        self._note_oldest()

    @rule(data=st.data(), index=st.sampled_from(INDEX_NAMES), reverse=st.booleans())
    def begin_scan(self, data, index, reverse):
        number = self._any_number(data)
        expected = self.world.expected(index, number=number, reverse=reverse)
        scan = self.store.scan(TABLE, index, b"", None, number=number, reverse=reverse)
        self.scans.append((number, expected, [], scan))

    @precondition(lambda self: getattr(self, "scans", None))
    @rule()
    def go_on_with_a_scan(self):
        number, expected, found, scan = self.scans[0]
        try:
            block = next(scan, None)
        except SnapshotTooOldError:
            assert not self._is_promised(number)
            block = None
        else:
            found += block.entries() if block else []
            assert found == expected[: len(found)], f"at {number}"
            assert block is not None or found == expected, f"at {number}"
        if block is None:
            del self.scans[0]
        self._note_oldest()

    @invariant()
    def newest_agrees(self):
        if hasattr(self, "world"):
            self.store._check()
            self.world.backlog._check()

    def teardown(self):
        try:
            self._check_all_promised()
        finally:
            self.patch.undo()

    def _check_all_promised(self):
        if hasattr(self, "world"):
            self.world.check(self.world.number)
            for number in range(self.oldest, self.world.number):
                if self._is_promised(number):
                    self.world.check(number)

    def _any_number(self, data):
        return data.draw(st.integers(min(self.oldest, self.world.number), self.world.number))

    def _is_promised(self, number):
        """Whether versions at `number` must be there.

        A table that is not in memory can be read back to the last fold only, and one that is, as
        far as when it was loaded.
        """
        is_loaded = self.store._slots[TABLE].state is not None if self.store._slots else False
        return number >= (self.oldest if is_loaded else max(self.oldest, self.world.folded))

    def _note_oldest(self):
        """An unloaded table forgets what is folded."""
        slot = self.store._slots.get(TABLE)
        if slot is None or slot.state is None:
            self.oldest = max(self.oldest, self.world.folded)


RowStoreMachine.TestCase.settings = settings(max_examples=examples(50), stateful_step_count=40)
TestRowStoreMachine = RowStoreMachine.TestCase

assert DOCUMENTS > 2 * BLOCK_ROWS, "the machine must cross blocks"
