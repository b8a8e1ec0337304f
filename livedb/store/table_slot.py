"""One table of the row store: whether it is loaded, and what refuses a read of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from livedb.errors import MemoryBudgetError, SnapshotTooOldError
from livedb.limits import Limits
from livedb.store.contract import Write
from livedb.store.resident import ResidentTable
from livedb.wording import size_text


@dataclass(slots=True)
class Loading:
    """A load under way. Guarded by the slot's latch.

    Attributes:
        covered: commits up to this one were taken from the backlog.
        queue: writes of commits above it, applied since.
        undone_to: the lowest number an undo went back to since the loader last looked.
    """

    covered: int
    queue: list[tuple[int, Write]] = field(default_factory=list)
    undone_to: int | None = None

    def enqueue(self, number: int, write: Write) -> None:
        """A write of a commit that was applied since."""
        if number > self.covered:
            self.queue.append((number, write))

    def undo(self, number: int) -> None:
        """Every commit above `number` is taken back."""
        self.queue = [queued for queued in self.queue if queued[0] <= number]
        self.covered = min(self.covered, number)
        self.undone_to = number if self.undone_to is None else min(self.undone_to, number)


class TableSlot:
    """One table, loaded or not."""

    def __init__(self, table: int, name_of: Callable[[int], str]) -> None:
        self.table = table
        self._name_of = name_of
        # Guards every field below and the state's contents.
        self.latch = threading.Lock()
        self.state: ResidentTable | None = None
        self.loading: Loading | None = None
        self.floor = 0  # reads below are refused
        self.load_from = 0  # a load must contain this commit
        self.covered = 0  # `apply` skips commits up to this one: the load took them already
        self.estimate_factor = 1.0  # by how much the last estimate of its size fell short

    @property
    def name(self) -> str:
        """The table's, for messages."""
        return self._name_of(self.table)


def check_number(slot: TableSlot, state: ResidentTable, number: int) -> None:
    """Refuse a read of what a table no longer keeps.

    Raises:
        SnapshotTooOldError: it is older.
    """
    if number < state.oldest:
        raise SnapshotTooOldError(
            f"table {slot.name!r} was asked for as of commit {number}, but versions before "
            f"{state.oldest} are no longer kept in memory; run it again at the newest commit"
        )


def search_budget_error(
    table: str, index: str, held_bytes: int, limits: Limits
) -> MemoryBudgetError:
    """A search index found no room; `held_bytes` are taken with it."""
    return MemoryBudgetError(
        f"With the search index {table}.{index} the tables of functions would take "
        f"{size_text(held_bytes)} of memory, and there are "
        f"{size_text(limits.row_memory_bytes_max)}. Raise Limits.row_memory_bytes_max, or delete "
        "documents."
    )


def budget_error(table: str, needed: int, held: int, limits: Limits) -> MemoryBudgetError:
    """A table finds no room: it needs so many bytes, and others hold so many."""
    taken = f", of which other tables have {size_text(held)}" if held else ""
    return MemoryBudgetError(
        f"Functions need table {table!r} in memory, about {size_text(needed)}, and for all tables "
        f"there are {size_text(limits.row_memory_bytes_max)}{taken}. Raise "
        "Limits.row_memory_bytes_max, delete documents, or use SQL, which does not need this "
        "memory."
    )
