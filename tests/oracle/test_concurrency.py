"""Threads mutate, read, follow and run SQL at once: the history is serializable in commit order."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import livedb
from livedb import MutationContext, QueryContext
from livedb.errors import ApplicationError, ConflictError
from livedb.limits import Limits
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.transactions.write_log import WriteLog
from tests.oracle.serial import Appended, History, Seen, States, Vector, anomalies

REGISTERS = 4
SQL = "select name, items::varchar as items from registers order by name"


class Storm:
    """Threads on a few hot documents."""

    def __init__(self, path: Path | None, seed: int) -> None:
        limits = Limits(turn_ms_max=0.2, conflict_retries_max=30, fold_idle_s=0.02)
        self.db = livedb.open(path, limits=limits)
        self.seed = seed
        self.history = History()
        self.failures: list[BaseException] = []
        self._tokens = itertools.count(1)
        self._is_over = threading.Event()
        self.ids = self.db["registers"].insert([{"name": n, "items": []} for n in range(REGISTERS)])
        self._define()

    def _define(self) -> None:
        def append(
            ctx: MutationContext, token: int, read: list[int], write: list[int], *, fails: bool
        ) -> list[list[int]]:
            return self._append(ctx, token, read, write, fails=fails)

        self.append = self.db.mutation(append)

        @self.db.query
        def registers(ctx: QueryContext) -> list[list[int]]:
            return [ctx.db.get(each)["items"] for each in self.ids]

        self.registers = registers

        @self.db.query
        def scanned(ctx: QueryContext) -> list[list[int]]:
            rows = [dict(row) for row in ctx.db.query("registers")]
            return [row["items"] for row in sorted(rows, key=lambda row: row["name"])]

        self.scanned = scanned

    def _append(
        self, ctx: MutationContext, token: int, read: list[int], write: list[int], *, fails: bool
    ) -> list[list[int]]:
        if token % 3:
            found = [ctx.db.get(self.ids[each])["items"] for each in read]
        else:
            by_name = {row["name"]: row["items"] for row in ctx.db.query("registers")}
            found = [by_name[each] for each in read]
        for each in write:
            items = ctx.db.get(self.ids[each])["items"]
            if token % 4 == 0:
                time.sleep(0.001)  # long enough to be overtaken
            ctx.db.patch(self.ids[each], {"items": [*items, token]})
        if fails:
            time.sleep(0.002)
            raise ApplicationError("planned")
        return found

    def run(self, *, mutators: int, appends: int) -> list[str]:
        """Everything at once; returns the anomalies."""
        mutating = [
            threading.Thread(target=self._guard, args=(self._mutate, n, appends))
            for n in range(mutators)
        ]
        readers: list[Callable[[], None]] = [
            self._query, self._query_by_scan, self._sql, self._follow, self._freeze,
        ]  # fmt: skip
        reading = [threading.Thread(target=self._guard, args=(reader,)) for reader in readers]
        watched = self.registers.live()
        numbers: list[int] = []
        watched.observe(lambda handle: numbers.append(handle.version))
        for thread in (*reading, *mutating):
            thread.start()
        for thread in mutating:
            thread.join()
        self._is_over.set()
        for thread in reading:
            thread.join()
        assert _vector(watched.value) == _vector(self.registers())
        watched.close()
        states = States(self.db.backend.workspace.log, self.ids)
        found = anomalies(self.history, states)
        if numbers != sorted(numbers):
            found.append("an observer heard numbers go back")
        return found + [f"a thread failed: {each!r}" for each in self.failures]

    def _guard(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001  # it is the test's finding
            self.failures.append(error)

    def _mutate(self, at: int, appends: int) -> None:
        rng = Random(f"{self.seed}:{at}")
        mine = self.history.observer(f"mutator {at}")
        for _ in range(appends):
            token = next(self._tokens)
            read = rng.sample(range(REGISTERS), rng.randrange(1, 3))
            write = rng.sample(range(REGISTERS), rng.randrange(1, 3))
            fails = rng.random() < 0.15
            try:
                found = self.append(token=token, read=read, write=write, fails=fails)
            except (ApplicationError, ConflictError):
                continue
            reads = {each: tuple(items) for each, items in zip(read, found, strict=True)}
            self.history.appended.append(Appended(token, reads))
            mine.append(Seen(_vector(self.registers()), None, after=token))

    def _query(self) -> None:
        seen = self.history.observer("query")
        while not self._is_over.is_set():
            seen.append(Seen(_vector(self.registers()), None))
            time.sleep(0.0005)

    def _query_by_scan(self) -> None:
        seen = self.history.observer("scan")
        while not self._is_over.is_set():
            seen.append(Seen(_vector(self.scanned()), None))
            time.sleep(0.0005)

    def _sql(self) -> None:
        seen = self.history.observer("sql")
        while not self._is_over.is_set():
            result = self.db.sql(SQL)
            seen.append(Seen(_vector_of_rows(result), result.number))

    def _follow(self) -> None:
        """Handles of its own, read without a snapshot: values in order, numbers in order."""
        values, versions = self.history.observer("handle"), []
        handle = self.scanned.live()
        while not self._is_over.is_set():
            values.append(Seen(_vector(handle.value), None))
            versions.append(handle.version)
            time.sleep(0.0005)
        assert versions == sorted(versions)
        handle.close()

    def _freeze(self) -> None:
        """Two functions and SQL, live and called, are at one number."""
        seen = self.history.observer("frozen")
        handles = self.registers.live(), self.scanned.live()
        sql = self.db.live_sql(SQL)
        while not self._is_over.is_set():
            with self.db.snapshot() as number:
                seen.extend(Seen(_vector(handle.value), number) for handle in handles)
                seen.append(Seen(_vector_of_rows(sql.value.to_pylist()), number))
                seen.append(Seen(_vector(self.scanned()), number))
                seen.append(Seen(_vector_of_rows(self.db.sql(SQL).to_arrow().to_pylist()), number))
            time.sleep(0.001)
        for handle in (*handles, sql):
            handle.close()


def _vector(value: Any) -> Vector:
    return tuple(tuple(items) for items in value)


def _vector_of_rows(rows: Any) -> Vector:
    import json

    return tuple(tuple(json.loads(row["items"])) for row in rows)


def storm(path: Path | None, seed: int, *, mutators: int = 6, appends: int = 25) -> list[str]:
    made = Storm(path, seed)
    try:
        return made.run(mutators=mutators, appends=appends)
    finally:
        made.db.close()


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_concurrent_mutations_and_readers_are_serializable_in_commit_order(
    on_disk: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    assert storm(tmp_path / "w.livedb" if on_disk else None, 1) == []


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(100, 130))
def test_long_storms_are_serializable(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "w.livedb" if seed % 2 else None
    assert storm(path, seed, mutators=8, appends=150) == []


# -- the checker itself: three planted bugs --------------------------------------------------------


def test_the_checker_finds_a_missing_read_set_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WriteLog, "first_conflict", lambda *_, **__: None)
    assert any("read register" in each for each in storm(None, 2))


def test_the_checker_finds_stale_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    current = Transaction._current

    def read_stale(self: Transaction, table: int, document_id: str) -> Any:
        now, self.number = self.number, max(self.number - 1, 1)
        try:
            return current(self, table, document_id)
        finally:
            self.number = now

    monkeypatch.setattr(Transaction, "_current", read_stale)
    assert any("read register" in each for each in storm(None, 3))


def test_the_checker_finds_dirty_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[tuple[int, str], Any] = {}
    put, current = Transaction._put, Snapshot._current

    def put_in_public(
        self: Transaction, table: Any, indexes: Any, document_id: str, *rest: Any
    ) -> None:
        put(self, table, indexes, document_id, *rest)
        written[table.number, document_id] = rest[-2]

    def read_dirty(self: Snapshot, table: int, document_id: str) -> Any:
        return written.get((table, document_id)) or current(self, table, document_id)

    monkeypatch.setattr(Transaction, "_put", put_in_public)
    monkeypatch.setattr(Snapshot, "_current", read_dirty)
    assert any("no state at" in each for each in storm(None, 4))
