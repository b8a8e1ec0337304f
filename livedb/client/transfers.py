"""Loads into a workspace on a service, exports and backups of it: all travel in bounded parts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from livedb.client.verbs import Verbs
from livedb.clock import Clock
from livedb.commitlog.lock import FOLDER_MODE
from livedb.errors import DisconnectedError, FormatError, LivedbError, LoadError
from livedb.protocol.codecs import PACK

if TYPE_CHECKING:
    from os import PathLike

    import pyarrow as pa

    from livedb.interchange.exports import ExportResult, Format
    from livedb.interchange.sources import Source

UPLOAD_PART_BYTES = 4 << 20
"""Bytes of rows sent by one message."""

_Fetch: TypeAlias = Callable[[int, int, BinaryIO], None]
"""Writes the file of a number and a size to an open one."""


class Transfers:
    """Moves data to a service, and from it."""

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

    def export(
        self,
        table: str,
        path: str | PathLike[str],
        *,
        format: Format | None,  # noqa: A002  # the word users know
        overwrite: bool,
    ) -> tuple[ExportResult, tuple[str, ...]]:
        """Have a table written as a file over there, and fetch it to `path`, whole or not at all.

        Returns what was written, and the fields that SQL does not show.
        """
        from livedb.interchange.exports import ExportResult, format_of, published

        target = Path(path).expanduser()
        given = {"table": table, "format": format or format_of(target)}
        with (
            published(target, overwrite=overwrite) as file,
            self._made("export", given) as (made, files, fetch),
        ):
            [(_, size)] = files
            fetch(0, size, file)
        number, rows, hidden = made
        return ExportResult(path=target, number=number, rows=rows), tuple(hidden)

    def backup(self, target: Path) -> int:
        """Have a backup made over there, and fetch it to the new folder `target`."""
        from livedb.durable import sync_file
        from livedb.workspace_files import MARK_NAME

        if target.exists() and any(target.iterdir()):
            raise FormatError(f"{str(target)!r} is not empty; give a new folder for the backup")
        target.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        with self._made("backup", {}) as (number, files, fetch):
            numbered = [(name, at, size) for at, (name, size) in enumerate(files)]
            # The mark last: without it a folder is no workspace.
            for name, at, size in sorted(numbered, key=lambda each: each[0] == MARK_NAME):
                path = _inside(target, name)
                path.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
                with path.open("xb") as file:
                    fetch(at, size, file)
                sync_file(path)
        return int(number)

    @contextmanager
    def _made(self, verb: str, given: Mapping[str, Any]) -> Iterator[tuple[Any, Any, _Fetch]]:
        """What a verb makes for us: its answer, its files with their sizes, and how to fetch."""
        download = self._clock.random_bytes(16).hex()

        def fetch(number: int, size: int, file: BinaryIO) -> None:
            start = 0
            while start < size:
                asked = {"download": download, "file": number, "start": start}
                attachments = PACK.read_payload(self._verbs.act("download", asked)).attachments
                if not any(attachments):
                    raise DisconnectedError("The service sends less than it said; try again")
                for part in attachments:
                    start += file.write(part)

        over = {"download": download}
        try:
            answer: Any = PACK.read(self._verbs.act(verb, {**given, **over}))
            made, files = answer
            yield made, files, fetch
        except BaseException:
            with suppress(LivedbError):  # it goes by itself, a little later
                self._verbs.ask("downloaded", over)
            raise
        with suppress(LivedbError):
            self._verbs.act("downloaded", over)


def _inside(folder: Path, name: str) -> Path:
    """The path in a folder that a service names, which may not lead out of it."""
    names = name.split("/")
    if len(names) > 2 or not all(re.fullmatch(r"[\w-][\w.-]*", each) for each in names):
        raise FormatError(f"The service names a file of its backup {name[:100]!r}, which is none")
    return folder.joinpath(*names)


def _parts(source: Source) -> Iterable[tuple[bytes, int]]:
    """The source's rows as pieces of one Arrow stream, with how many rows each ends."""
    import pyarrow as pa

    sink = io.BytesIO()
    rows = 0
    # Closed at the end alone: it would write to a sink that lack of memory has closed, and what
    # that says would take the place of the MemoryError.
    writer = pa.ipc.new_stream(sink, source.schema)
    for batch in _batches(source):
        writer.write_batch(batch)
        rows += batch.num_rows
        if sink.tell() >= UPLOAD_PART_BYTES:
            *pieces, last = _pieces(_taken(sink))
            for piece in pieces:
                yield piece, 0
            yield last, rows
            rows = 0
    writer.close()
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
