"""Vectors by their directions: how near two of them are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from livedb.search.fields import Equality, Keys

Vector: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Exact: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


class VectorQuery(NamedTuple):
    """What a vector search asks for.

    Attributes:
        vector: a float64 for each dimension, of length 1 together, in this machine's bytes.
        limit: how many documents.
        any_of: a document is to have at least one of these values; no condition if empty.
    """

    vector: bytes
    limit: int
    any_of: tuple[Equality, ...] = ()

    def direction(self) -> Exact:
        """The vector."""
        return np.frombuffer(self.vector, np.float64)

    def takes(self, keys: Keys) -> bool:
        """Whether a document with these filter keys passes."""
        return not self.any_of or any(keys[field] == key for field, key in self.any_of)

    def score(self, numbers: Sequence[float]) -> float:
        """How near a vector is: the cosine of the angle, -1 to 1; 0 for zeros."""
        return float(cosines(unit(numbers).astype(np.float32)[None, :], self.direction())[0])


def unit(numbers: Sequence[float]) -> Exact:
    """The vector of length 1 in this direction; zeros stay zeros, which fit nothing.

    Divided by the largest number first: squares of large ones would overflow, those of small ones
    vanish.
    """
    vector = np.array(numbers, np.float64)
    largest = float(np.abs(vector).max())
    if largest == 0.0:
        return vector
    vector /= largest
    length = np.sqrt(np.add.reduce(vector * vector))
    return np.asarray(vector / length, np.float64)


def directions(vectors: Sequence[bytes]) -> Exact:
    """Several `VectorQuery.vector`s as the rows of a matrix."""
    return np.frombuffer(b"".join(vectors), np.float64).reshape(len(vectors), -1)


def scores(numbers: Sequence[float], asked: Exact) -> list[float]:
    """How near a vector is to each of `directions`: to the last bit `VectorQuery.score`."""
    vector = unit(numbers).astype(np.float32)
    found = np.add.reduce(asked * vector.astype(np.float64), axis=1)
    near: list[float] = np.clip(found, -1.0, 1.0).tolist()
    return near


def cosines(vectors: Vector, query: Exact) -> Exact:
    """The cosine of the angle between each vector (a row, of length 1) and `query`.

    The same to the last bit for a vector alone and among others, which a product of matrices is
    not: numpy adds up each row by itself, and in the same way.
    """
    found = np.add.reduce(vectors.astype(np.float64) * query, axis=1)
    return np.asarray(np.clip(found, -1.0, 1.0), np.float64)
