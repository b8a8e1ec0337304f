"""One committer, readers, folds and packing at once: every read is exactly that of its number."""

from __future__ import annotations

import random
import threading

import pytest

from livedb.errors import SnapshotTooOldError
from livedb.store.rows import RowStore
from tests.store.contract_suite.world import (
    INDEX_NAMES,
    TABLE,
    World,
    creation_time_of,
    document_id,
)

DOCUMENTS = 300
READS = 120
COMMITS_MAX = 5_000
READERS = 3


def make_world() -> World:
    return World(
        lambda world: RowStore(
            load=world.load,
            indexes_of=world.indexes_of,
            estimate_bytes=world.estimate_bytes,
            backlog=world.backlog,
            limits=world.limits(),
        )
    )


class Race:
    """A writer in this thread and readers in others; the first failure is raised at the end."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.published = world.number
        self.is_over = False
        self.pause = threading.Event()
        self.failures: list[BaseException] = []
        self.reads = 0

    def run(self) -> None:
        readers = [threading.Thread(target=self._read, args=(n,)) for n in range(READERS)]
        readers.append(threading.Thread(target=self._repack))
        for reader in readers:
            reader.start()
        try:
            self._write()
        finally:
            self.is_over = True
            for reader in readers:
                reader.join()
        if self.failures:
            raise self.failures[0]
        assert self.reads >= READS

    def _write(self) -> None:
        """Commit ahead of what is published, sometimes take the unpublished back."""
        chance = random.Random(self.seed)
        world = self.world
        while self.reads < READS and world.number < COMMITS_MAX and not self.failures:
            self.pause.wait(0.001)
            changes = {
                document_id(chance.randrange(DOCUMENTS)): self._fields(chance)
                for _ in range(chance.randrange(1, 12))
            }
            world.commit(changes)
            if chance.random() < 0.1:
                world.undo(self.published)
            if chance.random() < 0.4:
                self.published = world.number
            if chance.random() < 0.1:
                world.fold(self.published)
            if chance.random() < 0.1:
                world.release(max(0, self.published - 30))
            if chance.random() < 0.02:
                number = world.commit({})
                self.published = number
                world.fold(number)
                world.store.reset(TABLE, number)

    def _fields(self, chance: random.Random) -> dict[str, object] | None:
        if chance.random() < 0.2:
            return None
        return {"a": chance.randrange(4), "b": {"c": chance.choice(["x", "y", 1.5, None])}}

    def _read(self, reader: int) -> None:
        chance = random.Random(f"{self.seed} {reader}")
        try:
            while not self.is_over and not self.failures:
                number = max(0, self.published - chance.choice([0, 0, 0, 1, 5]))
                try:
                    self._read_at(number, chance)
                    self.reads += 1
                except SnapshotTooOldError:
                    continue
        except BaseException as failure:  # noqa: BLE001 - shown by the test's thread
            self.failures.append(failure)

    def _read_at(self, number: int, chance: random.Random) -> None:
        index = chance.choice(INDEX_NAMES)
        reverse = chance.random() < 0.5
        found = self.world.scan(index, number=number, reverse=reverse)
        expected = self.world.expected(index, number=number, reverse=reverse)
        assert found == expected, f"{index} at {number}, reverse={reverse}"
        state = self.world.states[number][TABLE]
        for _ in range(20):
            key_id = document_id(chance.randrange(DOCUMENTS))
            document = self.world.store.get(TABLE, key_id, number=number)
            assert document == state.get(key_id), f"{key_id} at {number}"
        assert self.world.store.count(TABLE, number=number) == len(state), number

    def _repack(self) -> None:
        try:
            while not self.is_over and not self.failures:
                self.world.store.repack(TABLE)
                self.pause.wait(0.005)
        except BaseException as failure:  # noqa: BLE001 - shown by the test's thread
            self.failures.append(failure)


@pytest.mark.parametrize("seed", range(4))
def test_readers_see_exactly_their_number_whatever_happens_beside_them(
    seed: int, fast_switching: None
):
    world = make_world()
    fields = {"a": 1}
    world.commit({document_id(number): fields for number in range(0, DOCUMENTS, 2)})
    world.fold()
    Race(world, seed).run()
    world.store._check()
    world.check(world.number)


def test_creation_times_of_the_race_repeat():
    """Equal creation times make the id decide, which a race over distinct ones would not test."""
    times = {creation_time_of(document_id(number)) for number in range(DOCUMENTS)}
    assert len(times) < DOCUMENTS


@pytest.fixture
def fast_switching():
    """Let threads change places as often as the interpreter allows."""
    import sys

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)
