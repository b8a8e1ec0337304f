"""Exports and imports of a service: what goes on, the files meanwhile, and how long those stay.

An export is written beside the workspace, then fetched; an import arrives in parts, is looked at,
confirmed, and then loaded in one commit or not at all. Administrators follow both as live queries,
under Convex's names. All of it is of this service alone: it is gone when the service ends, but for
what was committed.

Source: spec sync-protocol.md 14.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livedb import transfer
from livedb.errors import InvalidValueError, LimitError, LivedbError
from livedb.functions.context import QueryContext
from livedb.functions.definition import define
from livedb.transfer import FileFormat, ImportMode
from livedb.values import Int64, Value
from livedb.wording import counted
from livedb.workspace import Workspace

LATEST_EXPORT = "_system/cli/exports:getLatest"
IMPORT = "_system/cli/queryImport:default"
IMPORTS = "_system/cli/queryImport:list"

UPLOAD_BYTES_MAX = 64 << 30
"""Bytes of one file that arrives; it lies on disk beside the workspace."""

UPLOADS_MAX = 8
"""Files that arrive, or wait to be confirmed, or are loaded, at once."""

PARTS_MAX = 10_000
"""Parts of one file (Convex)."""

KEPT_S_MAX = 3600.0
"""Seconds that a file stays of which nobody wants anything."""

SWEEP_S = 60.0
"""Seconds between two looks for such files."""

IMPORTS_MAX = 100
"""Imports that are remembered, running ones included."""

State = dict[str, Value]


@dataclass(slots=True, kw_only=True)
class Upload:
    """A file that arrives, part by part.

    Attributes:
        ends: where each part ends in the file.
        touched_s: when something of it came last, on the monotonic clock.
        lock: one part at a time.
    """

    path: Path
    touched_s: float
    ends: list[int] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOrder:
    """What is to become of an uploaded file.

    Attributes:
        table: None for a snapshot zip, which names its tables.
        format: None for a snapshot zip.
        has_new_ids: leave out the ids that rows have.
        zone: of times without one.
        null_values: what a CSV file writes for null.
    """

    mode: ImportMode
    table: str | None = None
    format: FileFormat | None = None
    has_new_ids: bool = False
    zone: str | None = None
    null_values: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Import:
    order: ImportOrder
    path: Path
    touched_s: float
    state: State = field(default_factory=lambda: {"state": "uploaded"})

    def is_in(self, *states: str) -> bool:
        return self.state["state"] in states


@dataclass(slots=True, kw_only=True)
class _Export:
    path: Path
    touched_s: float
    tables: Sequence[str] | None
    has_files: bool | None
    state: State = field(default_factory=lambda: {"state": "requested"})


class Transfers:
    """The exports and imports of a service.

    Uploads are touched on the event loop's thread alone; exports and imports from any thread.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._clock = workspace.clock
        self._folder = workspace.files.staging
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()
        """Guards `_imports`, `_export` and `_is_closed`; held for moments."""
        self._imports: dict[str, _Import] = {}
        self._export: _Export | None = None
        self._is_closed = False
        self._jobs = ThreadPoolExecutor(1, thread_name_prefix="livedb-transfer")
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep_now_and_then())
        self._define_queries()

    # -- what administrators follow ------------------------------------------------------------

    def _define_queries(self) -> None:
        def latest(ctx: QueryContext) -> Value:  # noqa: ARG001
            with self._lock:
                return None if self._export is None else dict(self._export.state)

        def one(ctx: QueryContext, importId: str) -> Value:  # noqa: ARG001, N803
            with self._lock:
                return {"state": dict(self._known(importId).state)}

        def every(ctx: QueryContext) -> Value:  # noqa: ARG001
            with self._lock:
                return [{"state": dict(each.state)} for each in self._imports.values()]

        for name, query in ((LATEST_EXPORT, latest), (IMPORT, one), (IMPORTS, every)):
            defined = define(query, kind="query", visibility="internal", name=name)
            self._workspace.registry.define(defined)

    def _known(self, import_id: str) -> _Import:
        known = self._imports.get(import_id)
        if known is None:
            raise InvalidValueError(f"There is no import {import_id[:40]!r}", code="ImportNotFound")
        return known

    def _move(self, job: _Import | _Export, **state: Value) -> None:
        """Show a new state of a job."""
        with self._lock:
            job.state = state
            job.touched_s = self._clock.monotonic_s()
        names = (LATEST_EXPORT,) if isinstance(job, _Export) else (IMPORT, IMPORTS)
        self._workspace.invalidate_functions(names)

    # -- exports -------------------------------------------------------------------------------

    def request_export(
        self, tables: Sequence[str] | None = None, *, has_files: bool | None = None
    ) -> None:
        """Begin to write tables (None: all) as a snapshot zip, which replaces the last one.

        Raises:
            LimitError: one is being written.
        """
        with self._lock:
            last = self._export
            if last is not None and last.state["state"] in {"requested", "in_progress"}:
                raise LimitError("An export is being made already", code="ExportInProgress")
            export = _Export(
                path=self._new_path(".zip"),
                touched_s=self._clock.monotonic_s(),
                tables=tables,
                has_files=has_files,
            )
            self._export = export
        if last is not None:
            last.path.unlink(missing_ok=True)
        self._begin(export, self._run_export)

    def _run_export(self, export: _Export) -> None:
        start_ts = self._clock.now_ns()
        self._move(export, state="in_progress")
        done = transfer.export_snapshot(
            self._workspace, export.path, tables=export.tables, has_files=export.has_files
        )
        self._move(
            export,
            state="completed",
            start_ts=Int64(start_ts),
            complete_ts=Int64(self._clock.now_ns()),
            zip_object_key=export.path.name,
            # Ours: what `livedb export` tells.
            commit=done.number,
            rows=[[name, count] for name, count in done.rows.items()],
        )

    def exported(self, start_ts: int) -> Path:
        """The file of the export that began at `start_ts`.

        Raises:
            InvalidValueError: there is none, or it was removed.
        """
        with self._lock:
            export = self._export
            if export is None or export.state.get("start_ts") != start_ts:
                raise InvalidValueError(
                    f"There is no export {start_ts}; one stays for an hour, or until the next",
                    code="ExportNotFound",
                )
            export.touched_s = self._clock.monotonic_s()
            return export.path

    # -- uploads: on the loop's thread ---------------------------------------------------------

    def start_upload(self) -> str:
        """Make room for a file; returns its token.

        Raises:
            LimitError: too many are on their way.
        """
        with self._lock:
            waiting = [each for each in self._imports.values() if not _is_over(each)]
        if len(self._uploads) + len(waiting) >= UPLOADS_MAX:
            raise LimitError(
                f"{UPLOADS_MAX} imports are on their way already", code="TooManyUploads"
            )
        token = self._clock.random_bytes(16).hex()
        path = self._new_path("")
        path.touch(0o600)
        self._uploads[token] = Upload(path=path, touched_s=self._clock.monotonic_s())
        return token

    def upload(self, token: str) -> Upload:
        """The upload of a token.

        Raises:
            InvalidValueError: there is none.
        """
        found = self._uploads.get(token)
        if found is None:
            raise InvalidValueError(
                f"There is no such upload; one is forgotten after {KEPT_S_MAX / 60:.0f} minutes "
                "without a part",
                code="UploadNotFound",
            )
        found.touched_s = self._clock.monotonic_s()
        return found

    def finish_upload(self, token: str, order: ImportOrder) -> str:
        """All parts are here: look at the file, and ask for a confirmation; returns an id."""
        upload = self.upload(token)
        if upload.lock.locked():
            raise InvalidValueError("A part of this upload is still arriving")
        del self._uploads[token]
        import_id = self._clock.random_bytes(16).hex()
        job = _Import(order=order, path=upload.path, touched_s=self._clock.monotonic_s())
        with self._lock:
            self._imports[import_id] = job
            over = [name for name, each in self._imports.items() if _is_over(each)]
            for name in over[: max(0, len(self._imports) - IMPORTS_MAX)]:
                del self._imports[name]
        self._begin(job, self._look)
        return import_id

    # -- imports -------------------------------------------------------------------------------

    def _look(self, job: _Import) -> None:
        """Say what would be lost, and wait for the confirmation."""
        order = job.order
        doomed = transfer.replaced_by(
            self._workspace, mode=order.mode, table=order.table, path=job.path
        )
        lines = [f"{name}: removes {counted(rows, 'document')}" for name, rows in doomed.items()]
        self._move(
            job,
            state="waiting_for_confirmation",
            message_to_confirm="\n".join(lines),
            require_manual_confirmation=bool(lines),
        )

    def perform_import(self, import_id: str) -> None:
        """Load what was confirmed.

        Raises:
            InvalidValueError: there is no such import, or it waits for no confirmation.
        """
        with self._lock:
            job = self._known(import_id)
            if not job.is_in("waiting_for_confirmation"):
                raise InvalidValueError(
                    f"This import is {job.state['state']!r} and waits for no confirmation",
                    code="ImportNotWaiting",
                )
            job.state = {"state": "uploaded"}  # at once: it is confirmed once only
        self._move(job, state="uploaded")  # and waits for its turn
        self._begin(job, self._run_import)

    def _run_import(self, job: _Import) -> None:
        order = job.order
        self._move(job, state="in_progress", progress_message="Importing")

        def report(name: str, rows: int) -> None:
            self._move(
                job,
                state="in_progress",
                progress_message=f'Importing "{name}" ({counted(rows, "document")})',
            )

        if order.table is None:
            done = transfer.import_snapshot(
                self._workspace, job.path, mode=order.mode, progress=report
            )
        else:
            done = transfer.import_file(
                self._workspace,
                order.table,
                job.path,
                format=order.format or "jsonl",
                mode=order.mode,
                has_new_ids=order.has_new_ids,
                zone=order.zone,
                null_values=order.null_values,
                progress=report,
            )
        job.path.unlink(missing_ok=True)
        self._move(
            job,
            state="completed",
            num_rows_written=Int64(sum(done.rows.values())),
            # Ours: what `livedb import` tells.
            commit=done.number,
            rows=[[name, count] for name, count in done.rows.items()],
            notes=list(done.notes),
        )

    # -- jobs and files ------------------------------------------------------------------------

    def _begin(self, job: Any, work: Callable[[Any], None]) -> None:
        self._jobs.submit(self._guarded, job, work)

    def _guarded(self, job: _Import | _Export, work: Callable[[Any], None]) -> None:
        """Do a job's work: what it raises is the job's state, as with any function's."""
        try:
            self._workspace.require_open()
            work(job)
        except Exception as error:  # noqa: BLE001  # a job worker: it tells who follows
            job.path.unlink(missing_ok=True)
            text = error.message if isinstance(error, LivedbError) else f"Server Error: {error!r}"
            told = text.replace(str(job.path), "the file")
            with suppress(LivedbError):  # the workspace was closed under it
                self._move(job, state="failed", error_message=told)
        if self._is_closed:
            job.path.unlink(missing_ok=True)

    def _new_path(self, ending: str) -> Path:
        return self._folder / f"transfer-{self._clock.random_bytes(8).hex()}{ending}"

    async def _sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """Remove the files of which nobody wanted anything for a while; on the loop's thread."""
        oldest_s = self._clock.monotonic_s() - KEPT_S_MAX
        for token, upload in list(self._uploads.items()):
            if upload.touched_s < oldest_s and not upload.lock.locked():
                del self._uploads[token]
                upload.path.unlink(missing_ok=True)
        with self._lock:
            export = self._export
            if export is not None and export.touched_s < oldest_s and _is_over(export):
                self._export = None
                export.path.unlink(missing_ok=True)
            late = [
                each
                for each in self._imports.values()
                if each.touched_s < oldest_s and each.is_in("waiting_for_confirmation")
            ]
        for each in late:
            each.path.unlink(missing_ok=True)
            self._move(each, state="failed", error_message="Nobody confirmed this import in time")

    def close(self) -> None:
        """Remove every file; what runs ends by itself. On the loop's thread."""
        self._sweeper.cancel()
        self._is_closed = True
        self._jobs.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            jobs: list[_Import | _Export] = list(self._imports.values())
            if self._export is not None:
                jobs.append(self._export)
            paths = [each.path for each in jobs if each.state["state"] != "in_progress"]
        for path in [*paths, *(upload.path for upload in self._uploads.values())]:
            path.unlink(missing_ok=True)


def _is_over(job: _Import | _Export) -> bool:
    return job.state["state"] in {"completed", "failed"}
