"""Loads into a workspace on a service, whose rows travel in parts of bounded size."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from livedb.client.verbs import Verbs
from livedb.clock import Clock
from livedb.errors import LoadError
from livedb.protocol.codecs import PACK

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.interchange.sources import Source

UPLOAD_PART_BYTES = 4 << 20
"""Bytes of rows sent by one message."""


class Transfers:
    """Moves data to a service."""

    def __init__(self, verbs: Verbs, clock: Clock) -> None:
        self._verbs = verbs
        self._clock = clock

    def load(
        self,
        table: str,
        source: Source,
        *,
        keep_ids: bool,
        progress: Callable[[int], None] | None,
    ) -> tuple[int, int]:
        """Send all rows of a source, and have them loaded; returns (rows, commit number)."""
        upload = self._clock.random_bytes(16).hex()
        for number, (part, rows) in enumerate(_parts(source)):
            self._verbs.act("upload", {"upload": upload, "part": number}, [part])
            if progress is not None:
                progress(rows)
        given = {"upload": upload, "table": table, "keep_ids": keep_ids}
        loaded: Any = PACK.read(self._verbs.act("load", given))
        return loaded[0], loaded[1]


def _parts(source: Source) -> Iterable[tuple[bytes, int]]:
    """The source's rows as pieces of one Arrow stream, with how many rows each ends."""
    import pyarrow as pa

    sink = io.BytesIO()
    rows = 0
    with pa.ipc.new_stream(sink, source.schema) as writer:
        for batch in _batches(source):
            writer.write_batch(batch)
            rows += batch.num_rows
            if sink.tell() >= UPLOAD_PART_BYTES:
                *pieces, last = _pieces(_taken(sink))
                for piece in pieces:
                    yield piece, 0
                yield last, rows
                rows = 0
    yield _taken(sink), rows


def _batches(source: Source) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    try:
        yield from source.reader()
    except (pa.ArrowException, OSError) as error:
        raise LoadError(f"The source cannot be read: {error}") from error


def _pieces(data: bytes) -> list[bytes]:
    """A batch of any size, as the bounded messages it is sent in."""
    return [
        data[start : start + UPLOAD_PART_BYTES] for start in range(0, len(data), UPLOAD_PART_BYTES)
    ]


def _taken(sink: io.BytesIO) -> bytes:
    """What was written, which is forgotten."""
    written = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return written
