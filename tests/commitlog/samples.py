"""Commits to append, and the files of a log as a killed process leaves them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from livedb.commitlog.contract import Commit
from livedb.commitlog.payload import DocumentsPart, DocumentWrite, encode_payload

PARTS = ("", "-wal", ".head")
"""What stands behind the log's name in the names of its files."""


def commit(number: int, *, mutation_id: str | None = None, size: int = 60) -> Commit:
    """Commit `number`, the same one however often it is asked for."""
    text = b"\x00" + bytes((number * 31 + i) % 256 for i in range(size))
    write = DocumentWrite(10_001, f"document-{number}", 1.5 * number, text)
    return Commit(
        number=number,
        ts=number * 1_000,
        mutation_id=mutation_id,
        function="tasks:add",
        args_hash=number.to_bytes(16, "big"),
        result=None if mutation_id is None else b"result %d" % number,
        log_lines=None if number % 3 else b"[]",
        author=None if number % 2 else "ada",
        payload=encode_payload([DocumentsPart([write])]),
    )


def identified(number: int) -> Commit:
    """Commit `number` with a mutation id, as a retry would look for it."""
    return commit(number, mutation_id=f"session-{number % 3}:{number}")


def commits(first: int, last: int) -> list[Commit]:
    """Commits `first` to `last`, every second one with a mutation id."""
    return [identified(n) if n % 2 else commit(n) for n in range(first, last + 1)]


_KILLED = """
import os, sys
from livedb.clock import SystemClock
from livedb.commitlog.sqlite import SqliteCommitLog
from tests.commitlog.samples import commits
log = SqliteCommitLog(sys.argv[1], clock=SystemClock())
for number in range(1, int(sys.argv[2]) + 1):
    log.append(commits(number, number))
os._exit(0)
"""


def leave_log(path: Path, count: int) -> None:
    """Make the files of a log whose process was killed after `count` appends of one commit."""
    subprocess.run([sys.executable, "-c", _KILLED, str(path), str(count)], check=True)


def copy_log(path: Path, target: Path) -> Path:
    """Copy a log that nobody has open."""
    for part in PARTS:
        source = path.with_name(path.name + part)
        if source.exists():
            shutil.copy(source, target.with_name(target.name + part))
        else:
            target.with_name(target.name + part).unlink(missing_ok=True)
    return target
