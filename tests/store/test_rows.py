from __future__ import annotations

import pytest

from livedb.store.rows import RowStore
from tests.store.contract_suite.document_store import DocumentStoreContract
from tests.store.contract_suite.world import TABLE, World


def row_store(world: World) -> RowStore:
    return RowStore(
        load=world.load,
        indexes_of=world.indexes_of,
        estimate_bytes=world.estimate_bytes,
        backlog=world.backlog,
        limits=world.limits(),
    )


class LoadedLate(World):
    """The table loads with the first read, commits being in the backlog."""

    def __init__(self):
        super().__init__(row_store)


class LoadedAtOnce(LoadedLate):
    """The table is in memory before the first commit: every document is a changed one."""

    def __init__(self):
        super().__init__()
        self.store.count(TABLE, number=0)


class Packed(LoadedAtOnce):
    """Every commit is folded and packed into a new base at once."""

    def commit(self, changes, *, table=TABLE):
        number = super().commit(changes, table=table)
        self.fold()
        self.store.repack(table)
        return number


class PackedLate(LoadedAtOnce):
    """One commit in three is folded, and then packed: bases older and newer than snapshots."""

    def commit(self, changes, *, table=TABLE):
        number = super().commit(changes, table=table)
        if number % 3 == 1:
            self.fold()
            self.store.repack(table)
        return number


@pytest.fixture(params=[LoadedAtOnce, LoadedLate, Packed, PackedLate])
def world(request):
    made = request.param()
    yield made
    made.store._check()


class TestRowStore(DocumentStoreContract):
    """The row store keeps the contract whatever lies packed and whatever lies changed."""
