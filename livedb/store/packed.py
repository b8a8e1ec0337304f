"""The bytes of a column of texts, in one piece, as numpy sees them: no copy, no Python object."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]


def packed_texts(column: pa.Array[Any]) -> tuple[Bytes, Offsets]:
    """The bytes of a string or binary column, and where each value starts (one more: the end).

    A null has no bytes. Cost: none for large types, else a copy of the offsets.
    """
    whole = column.cast(pa.large_binary())
    _, starts, values = whole.buffers()
    if starts is None or len(whole) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(memoryview(starts), np.int64)[whole.offset :][: len(whole) + 1]
    first, end = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(b"" if values is None else memoryview(values), np.uint8)
    return data[first:end], offsets - first
