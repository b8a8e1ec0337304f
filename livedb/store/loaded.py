"""A whole table as it leaves DuckDB for memory: columns of Arrow, never Python objects per row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTable:
    """Every document of one table at one commit, ordered by `_creationTime`, then `_id`.

    Attributes:
        number: the commit the documents are of.
        ids: string, one per document.
        creation_times: float64 milliseconds, ascending.
        texts: large_binary, the flagged text of `livedb.text`, without system fields.
        columns: values of some fields, as DuckDB's columns of strings and numbers have them. Where
            a text is plain, a value that is not null is the document's; null says nothing.
    """

    number: int
    ids: pa.StringArray
    creation_times: pa.DoubleArray
    texts: pa.LargeBinaryArray | pa.ChunkedArray[Any]
    columns: Mapping[str, pa.ChunkedArray[Any]] = field(default_factory=dict)
