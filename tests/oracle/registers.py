"""Append-only registers for clients of a service: the functions that `serial` can judge."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import livedb
from livedb import MutationContext, QueryContext
from livedb.errors import ConflictError
from tests.oracle.serial import Appended, History, Seen, Vector

REGISTERS = 4
SQL = "select name, items::varchar as items from registers order by name"


def define(db: livedb.Database, *, slow_s: float = 0.0) -> None:
    """The functions, and the registers if there are none.

    Args:
        slow_s: how long a query of one register takes, once in a while.
    """
    if "registers" not in db.tables:
        db["registers"].insert([{"name": name, "items": []} for name in range(REGISTERS)])

    @db.mutation
    def append(
        ctx: MutationContext, token: int, read: list[int], write: list[int]
    ) -> list[list[int]]:
        """Append the token to some registers; gives what others held."""
        rows = {row["name"]: row for row in ctx.db.query("registers")}
        found = [rows[each]["items"] for each in read]
        if token % 3 == 0:
            time.sleep(0.012)  # so long that a service takes another thread for other calls
        for each in write:
            row = rows[each]
            ctx.db.patch(row["_id"], {"items": [*row["items"], token]})
        return found

    @db.query
    def scanned(ctx: QueryContext) -> list[list[int]]:
        rows = [dict(row) for row in ctx.db.query("registers")]
        return [row["items"] for row in sorted(rows, key=lambda row: row["name"])]

    @db.query
    def register(ctx: QueryContext, name: int) -> list[int]:
        items = next(row["items"] for row in ctx.db.query("registers") if row["name"] == name)
        if slow_s and len(items) % 4 == name:
            time.sleep(slow_s)
        return items


def vector_of(value: Any) -> Vector:
    return tuple(tuple(items) for items in value)


class Clients:
    """Clients of a service that append, read, follow and run SQL at once."""

    def __init__(self, url: str, seed: int, *, clients: int, appends: int) -> None:
        self._url, self._seed, self._appends = url, seed, appends
        self.history = History()
        self.failures: list[BaseException] = []
        self.overtaken = 0
        """Calls that gave up because of conflicts."""
        self._tokens = itertools.count(1)
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._guard, args=(work, client), daemon=True)
            for client in range(clients)
            for work in (self._mutate, self._watch)
        ]
        self._left = clients

    @property
    def is_busy(self) -> bool:
        return self._left > 0

    @property
    def appended(self) -> int:
        return len(self.history.appended)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _guard(self, work: Callable[[livedb.Database, int], None], client: int) -> None:
        try:
            with livedb.connect(self._url) as db:
                work(db, client)
        except BaseException as error:  # noqa: BLE001  # it is the test's finding
            self.failures.append(error)

    def _mutate(self, db: livedb.Database, client: int) -> None:
        rng = Random(f"{self._seed}:{client}")
        seen = self.history.observer(f"mutator {client}")
        append, scanned = db.function("append"), db.function("scanned")
        try:
            for _ in range(self._appends):
                with self._lock:
                    token = next(self._tokens)
                read = rng.sample(range(REGISTERS), rng.randrange(1, 3))
                write = rng.sample(range(REGISTERS), rng.randrange(1, 3))
                try:
                    found = append(token=token, read=read, write=write)
                except ConflictError:  # overtaken each time: it did not happen, says the history
                    with self._lock:
                        self.overtaken += 1
                    continue
                reads = {each: tuple(items) for each, items in zip(read, found, strict=True)}
                self.history.appended.append(Appended(token, reads))
                seen.append(Seen(vector_of(scanned()), None, after=token))
        finally:
            self._left -= 1

    def _watch(self, db: livedb.Database, client: int) -> None:
        """Follow the registers, by one query and by four, which are always at one commit."""
        seen = self.history.observer(f"follower {client}")
        whole = db.function("scanned").live()
        each = [db.function("register").live(name=name) for name in range(REGISTERS)]
        while self.is_busy:
            with db.snapshot() as number:
                seen.append(Seen(vector_of(whole.value), number))
                seen.append(Seen(vector_of(one.value for one in each), number))
            if client % 4 == 0:
                result = db.sql(SQL)
                rows = tuple(tuple(_items(row["items"])) for row in result)
                self.history.observer(f"sql {client}").append(Seen(rows, result.number))
            time.sleep(0.005)


def _items(text: str) -> list[int]:
    return [int(each) for each in text.strip("[]").split(",") if each.strip()]
