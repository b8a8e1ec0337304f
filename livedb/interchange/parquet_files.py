"""Parquet files that have the same columns, in bounded batches.

A row group is read through a small buffer for each column, where Arrow by itself would first read
all of it: a huge one then needs no more memory than a small one, and the time is the same. Several
files must have the same columns; a dataset would fill up what one of them lacks, and pass over what
one has more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from livedb.errors import LoadError

_BUFFER_BYTES = 1 << 18


class ParquetRows:
    """The rows of Parquet files.

    Attributes:
        schema: their columns as in the first file, marks kept.
        rows: how many there are, as the files say.

    Raises:
        LoadError: the files differ in their columns; a file is damaged, or no Parquet.
    """

    def __init__(self, paths: Sequence[Path], *, batch_rows: int) -> None:
        self._paths = paths
        self._batch_rows = batch_rows
        self.rows = 0
        schemas = []
        for path in paths:
            with _opened(path) as file:
                schemas.append(file.schema_arrow)
                self.rows += file.metadata.num_rows
        self.schema = schemas[0]
        for path, schema in zip(paths, schemas, strict=True):
            if not schema.equals(self.schema):
                raise LoadError(
                    f"{str(path)!r} has the columns {_shown(schema)}, and {str(paths[0])!r} has "
                    f"{_shown(self.schema)}; load files with the same columns."
                )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, a block at a time."""
        for path in self._paths:
            with _opened(path) as file:
                for batch in file.iter_batches(self._batch_rows):
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            yield file
    except (pa.ArrowException, OSError, MemoryError) as error:
        why = str(error).strip() or "there is not enough memory for it"
        raise LoadError(f"The Parquet file {str(path)!r} cannot be read: {why}") from error


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{each.name} ({each.type})" for each in schema)
