"""Making a damaged workspace open again, without throwing anything away.

    log      is cut to its longest exact beginning                       (`commitlog.repair`)
    tables   are kept as they are; or without DuckDB's own log, when that is the damaged part; or
             made anew from a commit log that reaches back to commit 1

Tables that hold more commits than the repaired log are the better witness: then a new log continues
where they stand. DuckDB is only ever tried on a copy, since it changes a file by opening it. What
is taken out of its place goes into the folder `damaged-<n>` inside the workspace.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from livedb.clock import Clock, SystemClock
from livedb.commitlog.contract import Head
from livedb.commitlog.head import HeadFile, read_mark
from livedb.commitlog.lock import WorkspaceLock
from livedb.commitlog.payload import LoadPart, decode_payload
from livedb.commitlog.repair import LogReport, repair_log
from livedb.commitlog.sqlite import SqliteCommitLog, create_log
from livedb.commitlog.sqlite_file import check_kind, head_path, wal_path
from livedb.durable import sync_folder
from livedb.errors import DamagedError, FileError, FoldError, FormatError, LivedbError
from livedb.files.choice import NAMES_NAME
from livedb.functions.storage import contents_lost
from livedb.limits import Limits
from livedb.store.connection import NOT_A_DATABASE
from livedb.store.tables import TableStore
from livedb.wording import counted
from livedb.workspace import Workspace
from livedb.workspace_files import FORMAT_NUMBER, MARK_NAME, MARK_TEXT, WorkspaceFiles, format_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What a repair found, kept and lost; printing it says so in words.

    Attributes:
        kept: the commit that the workspace is at now.
        acknowledged: the last commit known to have been acknowledged; None when nothing tells.
        problems: what was wrong; empty for a sound workspace, of which nothing was changed.
        changes: what was done about it.
        backup: the folder with the files as they were, when any was changed.
        lost_files: the files whose contents are lost, each with what is wrong with it. Nothing can
            be done about them here: their documents stay, until they are deleted or their contents
            are put back from a backup.
    """

    path: Path
    kept: int
    acknowledged: int | None
    problems: tuple[str, ...]
    changes: tuple[str, ...]
    backup: Path | None
    lost_files: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether there was nothing to repair, and nothing is lost."""
        return not self.problems and not self.lost_files

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was acknowledged is lost."""
        return self.lost == 0 and not self.lost_files

    @property
    def lost(self) -> int | None:
        """How many acknowledged commits are gone; None when that is not known."""
        if not self.problems:
            return 0
        return None if self.acknowledged is None else max(0, self.acknowledged - self.kept)

    def __str__(self) -> str:
        if self.is_sound:
            return f"{self.path}: sound, at commit {self.kept}; nothing was changed"
        lines = [
            f"{self.path}: {'; '.join(self._outcome())}",
            *(f"  found    {problem}" for problem in self.problems),
            *(f"  did      {change}" for change in self.changes),
            *(f"  lost     the content of the file {file}" for file in self.lost_files),
        ]
        if self.backup is not None:
            lines.append(f"  kept     the files as they were in {self.backup}")
        if self.lost_files:
            lines.append(
                f"Put the contents back from a backup ({self.path / 'files'}), or delete the files."
            )
        return "\n".join(lines)

    def _outcome(self) -> list[str]:
        said = []
        if self.problems:
            lost = "an unknown number of" if self.lost is None else f"{self.lost:,}"
            said = [f"repaired, at commit {self.kept}", f"{lost} acknowledged commits are lost"]
        if self.lost_files:
            # The rest may have been sound, and "repaired" would then promise too much.
            said = said or [f"commits and tables are sound, at commit {self.kept}"]
            said.append(f"the contents of {counted(len(self.lost_files), 'file')} are lost")
        return said


def repair_workspace(path: str | os.PathLike[str]) -> RepairReport:
    """Make a damaged workspace open again; one that is sound is left as it is.

    Raises:
        WorkspaceLockedError: somebody has it open, perhaps this process.
        FormatError: the path is no workspace, or a newer livedb's.
        DamagedError: what is left cannot be put together; the message says what is missing, and
            the files as they were are in the workspace's `damaged-<n>`.
    Cost: reads everything once; needs room for a copy of the tables.
    """
    folder = Path(os.path.realpath(Path(path).expanduser()))
    _check_is_repairable(folder)
    with WorkspaceLock(folder):
        repair = _Repair(folder, SystemClock())
        repair.run()
    # Opening is the proof, and plays what the log holds beyond the tables into them.
    with Workspace(folder) as workspace:
        kept = workspace.committer.published
        try:
            lost_files = tuple(
                f"{file}: {wrong}"
                for file, wrong in workspace.file_storage.damage()
                if wrong is not None
            )
        except FileError as error:  # what was repaired is said all the same
            lost_files = ()
            repair.problems.append(
                f"the contents of files were not looked at; `livedb check` does it: {error.message}"
            )
    return RepairReport(
        path=folder,
        kept=kept,
        acknowledged=repair.acknowledged,
        problems=tuple(repair.problems),
        changes=tuple(repair.changes),
        backup=repair.backup,
        lost_files=lost_files,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check read: up to which commit, how many, the documents of each table, and files."""

    number: int
    commits: int
    documents: Mapping[str, int]
    files: int = 0


def check_workspace(workspace: Workspace) -> CheckReport:
    """Read every commit that the log has, every row, and every file, of an open workspace.

    Raises:
        DamagedError: something cannot be read, or is not what was written.
    Cost: reads everything once.
    """
    workspace.require_open()
    number = workspace.folder.fold()
    commits = 0
    for commit in workspace.log.read(after=workspace.log.anchor_number, until=number):
        decode_payload(commit.payload)
        commits += 1
    workspace.tables.check()
    files = list(workspace.file_storage.damage())
    damaged = [(file, wrong) for file, wrong in files if wrong is not None]
    if damaged:
        raise contents_lost(damaged, "All else could be read.")
    counts = workspace.folded_sql.counts()
    return CheckReport(number=number, commits=commits, documents=counts, files=len(files))


@dataclass(frozen=True, slots=True)
class _Folded:
    """How far tables have come, all of whose rows could be read."""

    number: int
    chain: bytes


class _Repair:
    """One repair, under the workspace's lock."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.changes: list[str] = []
        self.acknowledged: int | None = None
        self.backup: Path | None = None
        self._clock = clock
        self._files = WorkspaceFiles(folder)
        self._log = self._files.log
        self._tables = self._files.tables
        self._trial = self._files.staging / "repair"

    def run(self) -> None:
        self._repair_mark()
        report = self._repair_log()
        mark = None if report is None else report.acknowledged
        with self._trying_copy(with_wal=True) as folded:
            tables = folded
        self._note_acknowledged(mark, tables)
        if isinstance(tables, _Folded):
            self._join(report, tables)
        else:
            self._replace_tables(report, tables)

        if self.problems:
            self._keep_contents()

    # -- the contents of files -----------------------------------------------------------------

    def _keep_contents(self) -> None:
        """What no commit names any more is not lost: it is in the backup folder as well."""
        contents = [*self._files.files.iterdir()] if self._files.files.is_dir() else []
        if contents:
            target = self._backup_folder() / self._files.files.name
            target.mkdir(exist_ok=True)
            for content in contents:
                try:
                    (target / content.name).hardlink_to(content)
                except OSError:  # a file system without links
                    shutil.copyfile(content, target / content.name)
        # Of contents in an object store it is their names: without one nothing is removed there.
        names = self._files.objects / NAMES_NAME
        if names.is_dir() and any(names.iterdir()):
            names.rename(self._backup_folder() / NAMES_NAME)
            self.changes.append(
                "what the object store has of its files stays there, also what is deleted from now "
                f"on; {NAMES_NAME!r} in the backup folder names it"
            )

    # -- the log -------------------------------------------------------------------------------

    def _repair_log(self) -> LogReport | None:
        """Cut the log to its exact beginning; None when there is nothing of it."""
        if not self._log.exists() and not head_path(self._log).exists():
            self.problems.append("the commit log is missing")
            return None
        if not _is_sqlite(self._log):
            self._note_mark()
            self.problems.append("the commit log is not readable at all")
            return None
        report = repair_log(self._log)
        if report.problem is not None:
            self.problems.append(f"the commit log: {report.problem}")
            self.changes.append(
                f"the commit log was written anew up to its last exact commit, {report.kept.number}"
            )
        if report.backup is not None:
            for file in list(report.backup.iterdir()):
                self._put_away(file)
            report.backup.rmdir()
        return report

    def _note_mark(self) -> None:
        with suppress(LivedbError, OSError):
            mark = read_mark(head_path(self._log))
            self.acknowledged = None if mark is None else mark.number

    def _note_acknowledged(self, mark: int | None, tables: _Folded | Exception) -> None:
        """Without a head file nothing tells how many commits there were."""
        if mark is not None:
            self.acknowledged = mark
        if self.acknowledged is not None and isinstance(tables, _Folded):
            self.acknowledged = max(self.acknowledged, tables.number)

    def _start_log_at(self, tables: _Folded, after: Head | None) -> None:
        """A new, empty log that continues where the tables stand."""
        for file in (self._log, wal_path(self._log), head_path(self._log)):
            self._put_away(file)
        last_ts = 0 if after is None else after.ts
        ts = max(self._clock.now_ns(), last_ts + tables.number)
        draft = self._log.with_name("log.new")
        draft.unlink(missing_ok=True)
        create_log(draft, Head(number=tables.number, ts=ts, chain=tables.chain), iter(()))
        HeadFile.create(head_path(self._log), tables.number, tables.chain).close()
        draft.replace(self._log)
        sync_folder(self.folder)
        self.changes.append(
            f"a new commit log continues the tables at commit {tables.number:,}; mutations retried "
            "from before it are no longer recognised"
        )

    # -- the tables ----------------------------------------------------------------------------

    def _join(self, report: LogReport | None, tables: _Folded) -> None:
        """Let log and readable tables agree."""
        kept = None if report is None else report.kept
        if tables.number == 0:
            if report is None:
                raise self._refusal("neither its commit log nor its tables hold anything")
            self._check_reaches_back(report)
        elif kept is None or kept.number < tables.number:
            if kept is not None:
                self.problems.append(
                    f"the tables hold commit {tables.number}, the commit log ends at {kept.number}"
                )
            self._start_log_at(tables, kept)
        elif self._chain_at(tables.number) != tables.chain:
            raise self._refusal(
                f"its tables stand at commit {tables.number}, of which its commit log "
                f"({report.anchor.number} to {kept.number}) tells another story"  # type: ignore[union-attr]
            )
        elif missing := self._missing_loads(after=tables.number):
            raise self._refusal(
                f"the commit log does not hold the rows of {len(missing)} bulk loads that its "
                f"tables lack (the first at commit {missing[0]})"
            )

    def _replace_tables(self, report: LogReport | None, problem: Exception) -> None:
        """The tables cannot be read: go back to their last checkpoint, or make them anew."""
        words = _first_line(problem).replace(str(self._trial), str(self.folder))
        self.problems.append(f"the tables cannot be read: {words}")
        if report is None:
            raise self._refusal("neither its commit log nor its tables can be read")
        with self._trying_copy(with_wal=False) as older:
            if self._continues(report, older):
                self._put_tables_away()
                (self._trial / self._tables.name).replace(self._tables)
                sync_folder(self.folder)
                self.changes.append("the tables were taken back to DuckDB's last checkpoint")
                return
        self._check_reaches_back(report)
        self._put_tables_away()
        self.changes.append("the tables were made anew from the commit log")

    def _continues(self, report: LogReport, older: _Folded | Exception) -> bool:
        """Whether the log has everything beyond these tables, files of bulk loads included."""
        return (
            isinstance(older, _Folded)
            and 0 < older.number <= report.kept.number
            and self._chain_at(older.number) == older.chain
            and not self._missing_loads(after=older.number)
        )

    def _check_reaches_back(self, report: LogReport) -> None:
        """Refuse to make tables anew from a log that does not hold everything."""
        if report.anchor.number > 0:
            raise self._refusal(
                "its tables cannot be read, and its commit log begins only after commit "
                f"{report.anchor.number}, so they cannot be made anew"
            )
        missing = self._missing_loads(after=0)
        if missing:
            raise self._refusal(
                "its tables cannot be read, and the commit log does not hold the rows of "
                f"{len(missing)} bulk loads (the first at commit {missing[0]})"
            )

    def _missing_loads(self, *, after: int) -> list[int]:
        log = SqliteCommitLog(self._log, clock=self._clock)
        try:
            return [
                commit.number
                for commit in log.read(after=after)
                for part in decode_payload(commit.payload)
                if isinstance(part, LoadPart) and not (self._files.loads / part.file).is_file()
            ]
        finally:
            log.close()

    def _chain_at(self, number: int) -> bytes | None:
        log = SqliteCommitLog(self._log, clock=self._clock)
        try:
            return log.chain_at(number) if number <= log.head.number else None
        finally:
            log.close()

    @contextmanager
    def _trying_copy(self, *, with_wal: bool) -> Iterator[_Folded | Exception]:
        """How far a copy of the tables has come, or why it cannot be read."""
        shutil.rmtree(self._trial, ignore_errors=True)
        self._trial.mkdir(parents=True)
        try:
            for file in self._table_files() if with_wal else (self._tables,):
                if file.is_file():
                    shutil.copy2(file, self._trial / file.name)
            yield self._read_tables(self._trial / self._tables.name)
        finally:
            shutil.rmtree(self._trial, ignore_errors=True)

    def _read_tables(self, path: Path) -> _Folded | Exception:
        if not path.exists():
            return _Folded(0, b"")
        try:
            store = TableStore(
                path,
                limits=Limits(),
                clock=self._clock,
                loads_folder=self._files.loads,
                staging_folder=self._files.staging,
            )
            try:
                store.check()
                return _Folded(store.folded_number, store.folded_chain)
            finally:
                store.close()
        except (DamagedError, FoldError) as error:
            return error
        except FormatError as error:
            if error.code != NOT_A_DATABASE:
                raise
            # The cause says what is wrong with the file; the error, what else it may be.
            return error if error.__cause__ is None else DamagedError(str(error.__cause__))

    def _table_files(self) -> tuple[Path, Path]:
        return self._tables, self._tables.with_name(self._tables.name + ".wal")

    def _put_tables_away(self) -> None:
        for file in self._table_files():
            self._put_away(file)

    # -- files ---------------------------------------------------------------------------------

    def _repair_mark(self) -> None:
        mark = self.folder / MARK_NAME
        if mark.is_file() and format_of(mark) is not None:
            return
        self.problems.append(f"{MARK_NAME} is missing or cannot be read")
        self._put_away(mark)
        mark.write_text(MARK_TEXT)
        self.changes.append(f"{MARK_NAME} was written again")

    def _put_away(self, file: Path) -> None:
        """Move a file, if it is there, into this repair's backup folder."""
        if not file.exists():
            return
        folder = self._backup_folder()
        # The first copy of a name is the file as it was; a repaired one may follow it here.
        target = folder / file.name
        while target.exists():
            target = target.with_name(target.name + ".repaired")
        file.replace(target)
        sync_folder(folder)

    def _backup_folder(self) -> Path:
        """This repair's own, made when it is first needed."""
        if self.backup is None:
            number = 1
            while (folder := self.folder / f"damaged-{number}").exists():
                number += 1
            folder.mkdir(mode=0o700)
            self.backup = folder
        return self.backup

    def _refusal(self, why: str) -> DamagedError:
        copies = "" if self.backup is None else f" The files as they were: {str(self.backup)!r}."
        return DamagedError(
            f"The workspace {str(self.folder)!r} cannot be repaired: {why}. Restore it from a "
            f"backup (db.backup).{copies}",
            reason=why,
        )


def _check_is_repairable(folder: Path) -> None:
    """Refuse what is no workspace, or a newer livedb's, without touching it."""
    if not folder.is_dir():
        raise FormatError(f"There is no workspace at {str(folder)!r}")
    mark = folder / MARK_NAME
    if not mark.exists() and not (folder / "log.head").exists():
        raise FormatError(f"{str(folder)!r} is not a livedb workspace")
    found = format_of(mark) if mark.is_file() else None
    if found is not None and found > FORMAT_NUMBER:
        raise FormatError(
            f"{str(folder)!r} was made by a newer livedb (format {found}); update livedb"
        )


def _is_sqlite(path: Path) -> bool:
    """Whether the file starts as a log does; one that is gone is for `repair_log` to judge."""
    try:
        check_kind(path)
    except FormatError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
