"""A table's documents by the direction of one vector field: every one is compared.

A product of the matrix of all vectors with the one asked for says nearly how near each is; those
that may be among the nearest are compared again, exactly. So no document is missed, a filter costs
nothing, and the same search gives the same result whatever else there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from livedb.schema.search_indexes import VectorIndexDefinition
from livedb.search.base_rows import BaseRows
from livedb.search.slots import Array
from livedb.search.vectors import Vector, VectorQuery, cosines, unit
from livedb.search.versioned import Hit, OwnWrites, VersionedIndex

_BLOCK_ROWS = 1_024
"""Vectors of one matrix, beside those of the base; room for all is taken at once."""

_ROUNDING = 2.0**-24
"""How much one operation on float32 may be off, relatively."""

_GATHER_SHARE = 8
"""When fewer than one in so many pass the filters, only these are compared."""


class VectorIndex(VersionedIndex[list[float]]):
    """See `VersionedIndex`.

    Memory of a document: 4 bytes for each dimension, 24, and 4 for each filter field; of one that
    changed since its table was packed 150 more.
    """

    def __init__(self, index: VectorIndexDefinition, base: BaseRows) -> None:
        super().__init__(index, base)
        self._dimensions = index.dimensions
        self._blocks: list[Vector] = []
        self._used = 0
        """Rows in use of the last block; those before it are full."""

    def _content_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks)

    def _add(self, first: int, values: Sequence[list[float]]) -> None:  # noqa: ARG002  # in order
        for at, numbers in enumerate(values):
            if not self._blocks or self._used == len(self._blocks[-1]):
                rows = max(_BLOCK_ROWS, len(values) - at)
                self._blocks.append(np.empty((rows, self._dimensions), np.float32))
                self._used = 0
            self._blocks[-1][self._used] = unit(numbers)
            self._used += 1

    def settle(self, oldest: int) -> None:
        """See `VersionedIndex.settle`: there is nothing to do."""

    def search(self, query: VectorQuery, *, number: int, own: OwnWrites) -> list[Hit]:
        """The nearest documents at commit `number`, nearest first, ties by id.

        Cost: O(documents x dimensions), 15 to 30 ms for 1e5 x 384.
        """
        direction = query.direction()
        found: list[Hit] = []
        for document_id, stored in own.items():
            indexed = self._fields.of_text(None if stored is None else stored[1])
            if indexed is not None and query.takes(indexed[1]):
                found.append(Hit(document_id, query.score(indexed[0])))
        slots = self._near(query, number, own)
        exact = cosines(self._vectors(slots), direction)
        # Of the many that tie with the last one, ids decide; the others need none.
        found += [
            Hit(self._slots.id_of(slot), score)
            for slot, score in zip(slots.tolist(), exact.tolist(), strict=True)
        ]
        found.sort(key=lambda hit: (-hit.score, hit.id))
        return found[: query.limit]

    def _near(self, query: VectorQuery, number: int, own: OwnWrites) -> Array:
        """Every slot that may be among the nearest, by a product that is a little off."""
        passing = self._slots.is_alive(number)
        if own:
            passing[list(self._slots.all_of(own))] = False
        if query.any_of:
            is_any = np.zeros(len(passing), np.bool_)
            for equality in query.any_of:
                is_any |= self._slots.passes(equality)
            passing &= is_any
        slots = np.flatnonzero(passing)
        if len(slots) <= query.limit:
            return slots
        direction = query.direction().astype(np.float32)
        if len(slots) * _GATHER_SHARE < len(passing):
            near = self._vectors(slots) @ direction
        else:
            near = np.concatenate([block @ direction for block in self._filled()])[slots]
        least = np.partition(near, len(near) - query.limit)[len(near) - query.limit]
        off = 2 * (self._dimensions + 2) * _ROUNDING
        chosen: Array = slots[near >= least - off]
        return chosen

    def _filled(self) -> list[Vector]:
        """The blocks without the room that is left in the last one."""
        return [*self._blocks[:-1], self._blocks[-1][: self._used]]

    def _vectors(self, slots: Array) -> Vector:
        """The vectors of some slots, which are in ascending order."""
        taken = []
        start = 0
        for block in self._blocks:
            first, end = np.searchsorted(slots, (start, start + len(block)))
            taken.append(block[slots[first:end] - start])
            start += len(block)
        return np.concatenate(taken) if taken else np.empty((0, self._dimensions), np.float32)

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        held = sum(map(len, self._blocks[:-1])) + (self._used if self._blocks else 0)
        assert held == len(self._slots), f"{held} vectors of {len(self._slots)} slots"
