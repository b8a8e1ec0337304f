"""What goes on in a workspace, for people who look at it: runs of functions, the newest commits.

Nothing is kept for it but how runs ended (`functions.run_record`); the commits are the log's, and
what one of them changed is read from the history when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from livedb.clock import Clock
from livedb.commitlog.contract import Commit, CommitLog
from livedb.commitlog.payload import (
    ClearPart,
    DocumentsPart,
    DocumentWrite,
    FillPart,
    FunctionsPart,
    LoadPart,
    Part,
    SchemaPart,
    decode_payload,
)
from livedb.errors import SnapshotTooOldError
from livedb.functions.run_record import RunRecord
from livedb.schema.tables import SYSTEM_TABLES
from livedb.transactions.committer import Committer
from livedb.transactions.folder import Folder
from livedb.wording import counted

COMMITS_MAX = 20
"""Newest commits that are told."""

DOCUMENTS_MAX = 50
"""Documents of one commit whose change is told."""

TEXT_BYTES_MAX = 1 << 20
"""Bytes of the documents of one commit whose change is told."""

PAYLOAD_BYTES_MAX = 1 << 20
"""Bytes of a commit above which it is not looked into."""


@dataclass(frozen=True, slots=True)
class FunctionRuns:
    """What became of a function's runs since the workspace was opened.

    Attributes:
        mean_s: seconds of a run; None before the first has ended.
        ago_s: seconds since the last one ended; None before that.
        error: what the last one that failed raised; "" when none did.
    """

    runs: int
    errors: int
    mean_s: float | None
    ago_s: float | None
    error: str


@dataclass(frozen=True, slots=True)
class CommitLine:
    """One commit in a line.

    Attributes:
        at_s: seconds since the epoch.
        function: that committed; None for what is no function, such as a load.
        author: who called it; None for who opened the workspace.
        changes: what it did, such as "2 documents of tasks".
    """

    number: int
    at_s: float
    function: str | None
    author: str | None
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """What one commit did to one document.

    Attributes:
        before, after: its text (`livedb.text`); None where there was, or is, no document.
    """

    table: str
    id: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class CommitChanges:
    """What one commit changed; `others` says how many documents are left out."""

    line: CommitLine
    documents: tuple[DocumentChange, ...]
    others: int


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is connected.

    Attributes:
        name, role: empty until they say who they are.
        client: what they are connected with.
        since_s: seconds since the epoch.
    """

    name: str
    role: str
    client: str
    since_s: float


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """A workspace at one moment.

    Attributes:
        counts: documents of each table.
        runs: by the names of the functions.
        commits: the newest first.
        people: who is connected, who came first first.
    """

    number: int
    counts: dict[str, int]
    runs: dict[str, FunctionRuns]
    commits: tuple[CommitLine, ...]
    people: tuple[Person, ...]


class Activity:
    """What goes on in one workspace; any thread."""

    def __init__(
        self,
        *,
        log: CommitLog,
        committer: Committer,
        folder: Folder,
        runs: Mapping[str, RunRecord],
        counts: Callable[[], dict[str, int]],
        people: Callable[[], Iterable[Person]],
        clock: Clock,
    ) -> None:
        self._log = log
        self._committer = committer
        self._folder = folder
        self._runs = runs
        self._counts = counts
        self._people = people
        self._clock = clock
        self._lines: dict[int, CommitLine] = {}
        """Of the newest commits, so that none is looked into twice."""

    def report(self) -> ActivityReport:
        """How the workspace is now.

        Cost: a count of each table, and a look at each commit since the last report, 20 at most.
        """
        now_s = self._clock.monotonic_s()
        return ActivityReport(
            number=self._committer.published,
            counts=self._counts(),
            runs={name: _runs_of(record, now_s) for name, record in list(self._runs.items())},
            commits=self._newest(),
            people=tuple(self._people()),
        )

    def changes(self, number: int) -> CommitChanges:
        """What commit `number` did, document by document.

        Raises:
            SnapshotTooOldError: there is no such commit, or it is no longer in the log.
        """
        commit = self._commit(number)
        writes = {
            (write.table, write.id): write
            for part in decode_payload(commit.payload)
            if isinstance(part, DocumentsPart)
            for write in part.writes
            if self._name_of(write.table) not in SYSTEM_TABLES
        }
        documents: list[DocumentChange] = []
        size = 0
        with self._folder.snapshot() as snapshot:
            for write in islice(writes.values(), DOCUMENTS_MAX):
                versions = snapshot.history(write.table, write.id)
                before = next((each for each in versions if each.valid_to == number), None)
                change = self._change(write, None if before is None else before.document.text)
                size += len(change.before or b"") + len(change.after or b"")
                if size > TEXT_BYTES_MAX:
                    break
                documents.append(change)
        return CommitChanges(self._line(commit), tuple(documents), len(writes) - len(documents))

    def _change(self, write: DocumentWrite, before: bytes | None) -> DocumentChange:
        after = None if write.text is None else bytes(write.text)
        return DocumentChange(self._name_of(write.table), write.id, before, after)

    def _commit(self, number: int) -> Commit:
        found = None
        if 0 < number <= self._committer.published:
            with suppress(SnapshotTooOldError):
                found = next(self._log.read(after=number - 1, until=number), None)
        if found is None:
            raise SnapshotTooOldError(f"Commit {number} is not in the log, or no longer")
        return found

    def _newest(self) -> tuple[CommitLine, ...]:
        published = self._committer.published
        known = self._lines
        numbers = range(max(0, published - COMMITS_MAX) + 1, published + 1)
        lacking = [number for number in numbers if number not in known]
        found = {number: known[number] for number in numbers if number in known}
        if lacking:
            after = max(lacking[0] - 1, self._log.anchor_number)
            with suppress(SnapshotTooOldError):  # truncated meanwhile: the next report has the rest
                for commit in self._log.read(after=after, until=published):
                    found[commit.number] = self._line(commit)
        self._lines = found
        return tuple(found[number] for number in sorted(found, reverse=True))

    def _line(self, commit: Commit) -> CommitLine:
        changes: tuple[str, ...] = ("a large change",)
        if len(commit.payload) <= PAYLOAD_BYTES_MAX:
            changes = tuple(self._words(decode_payload(commit.payload)))
        return CommitLine(commit.number, commit.ts / 1e9, commit.function, commit.author, changes)

    def _words(self, parts: list[Part]) -> list[str]:
        words: list[str] = []
        for part in parts:
            match part:
                case DocumentsPart():
                    words += self._words_of_writes(part)
                case LoadPart():
                    words.append(f"{counted(part.rows, 'document')} loaded into "
                                 f"{self._name_of(part.table)}")  # fmt: skip
                case FillPart():
                    words.append(f"defaults filled into {self._name_of(part.table)}")
                case ClearPart():
                    words.append(f"{self._name_of(part.table)} emptied")
                case SchemaPart():
                    words.append("tables defined")
                case FunctionsPart():
                    words.append("functions pushed")
                case _:
                    words.append("settings")
        return words

    def _words_of_writes(self, part: DocumentsPart) -> list[str]:
        written: Counter[str] = Counter()
        deleted: Counter[str] = Counter()
        for write in part.writes:
            (deleted if write.text is None else written)[self._name_of(write.table)] += 1
        return [
            *(f"{counted(count, 'document')} of {name}" for name, count in written.items()),
            *(f"{counted(count, 'document')} of {name} deleted" for name, count in deleted.items()),
        ]

    def _name_of(self, table: int) -> str:
        return self._committer.catalog.name_of(table) or f"a dropped table ({table})"


def _runs_of(record: RunRecord, now_s: float) -> FunctionRuns:
    has_ended = record.ended > 0
    return FunctionRuns(
        record.runs,
        record.errors,
        record.took_s / record.ended if has_ended else None,
        now_s - record.last_s if has_ended else None,
        record.error,
    )
