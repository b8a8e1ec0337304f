"""A whole table as it leaves DuckDB for memory: columns of Arrow, never Python objects per row."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTable:
    """Every document of one table at one commit, ordered by `_creationTime`, then `_id`.

    Attributes:
        number: the commit the documents are of.
        ids: string, one per document.
        creation_times: float64 milliseconds, ascending.
        texts: large_binary, the flagged text of `livedb.text`, without system fields.
    """

    number: int
    ids: pa.StringArray
    creation_times: pa.DoubleArray
    texts: pa.LargeBinaryArray
