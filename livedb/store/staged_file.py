"""The file of a bulk load: written once, hashed meanwhile, named by its hash when it is whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from livedb.clock import Clock
from livedb.durable import sync_folder


class StagedFile:
    """A Parquet file under a temporary name, hashed while it is written, published by renaming.

    `open()` it where `close()` is sure to follow, however far `open` came.

    Args:
        group_rows: rows of a row group at most.
        on_name: told each name that the file is about to have in `folder`.
    """

    def __init__(
        self, folder: Path, clock: Clock, *, group_rows: int, on_name: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._group_rows = group_rows
        self._on_name = on_name
        self._path = folder / f".staging-{clock.random_bytes(8).hex()}"
        self._sink: _HashingSink | None = None
        self._writer: pyarrow.parquet.ParquetWriter | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="livedb-load")
        self._pending: Future[None] | None = None

    def open(self) -> None:
        """Make the file, in the folder, which is made if absent."""
        # The thread is started before there is work: a Ctrl-C while the executor starts it makes
        # the executor forget it, and then the file would be closed under a write.
        self._thread.submit(_nothing).result()
        self._on_name(self._path.name)
        # And it opens the file: a Ctrl-C, which strikes the main thread, cannot lose it.
        self._thread.submit(self._open).result()

    def close(self) -> None:
        """Let go of everything; a file that was not published is removed."""
        try:
            self._thread.shutdown(wait=True)
        except BaseException:
            self._thread.shutdown(wait=True)  # no file is closed while it is written
            raise
        finally:
            self._let_go()

    def _let_go(self) -> None:
        with suppress(OSError, pa.ArrowException):
            # After a failure: the writer must let go of the sink before the sink is closed.
            if self._writer is not None:
                self._writer.close()
        if self._sink is not None:
            self._sink.close()
        self._path.unlink(missing_ok=True)

    def write(self, rows: pa.Table) -> None:
        """Append `rows`; they are encoded beside whatever the caller does next."""
        self._wait()
        self._pending = self._thread.submit(self._write, rows)

    def publish(self) -> bytes:
        """Sync the file, name it by its hash, sync the folder; returns the hash."""
        self._wait()
        assert self._writer is not None, "not even the columns are known"
        assert self._sink is not None
        self._writer.close()  # closing again is harmless
        digest = self._sink.sync()
        name = file_name(digest)
        self._on_name(name)
        self._path.replace(self._folder / name)
        sync_folder(self._folder)
        return digest

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sink = _HashingSink(self._path)

    def _write(self, rows: pa.Table) -> None:
        if self._writer is None:
            texts = [each.name for each in rows.schema if pa.types.is_large_string(each.type)]
            sink: Any = self._sink  # any object with `write` will do, whatever the stubs say
            options: Any = {"use_dictionary": texts}  # columns may be named, which the stubs lack
            self._writer = pyarrow.parquet.ParquetWriter(
                sink, rows.schema, compression="snappy", **options
            )
        self._writer.write_table(rows, row_group_size=self._group_rows)


def file_name(sha256: bytes) -> str:
    """The name of the file with this hash."""
    return f"{sha256.hex()}.parquet"


def _nothing() -> None:
    """The first work of a thread."""


class _HashingSink:
    """A file that is written once, front to back, and knows the hash of what went in."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._hash = hashlib.sha256()

    @property
    def closed(self) -> bool:
        """For pyarrow, which asks."""
        return self._file.closed

    def write(self, data: Any) -> int:
        """Append `data`, all of it."""
        self._hash.update(data)
        left = memoryview(data).cast("B")
        written = 0
        while written < len(left):
            written += self._file.write(left[written:])
        return written

    def flush(self) -> None:
        """Nothing is kept back."""

    def sync(self) -> bytes:
        """Make what was written durable and close; returns its SHA-256."""
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.digest()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
