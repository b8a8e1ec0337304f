"""The peers: the same small program on SQLite and on DuckDB, each as well as it can be written."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import duckdb

from bench.tasks import task, task_table

_CREATE = "create table tasks(id text primary key, user text, due real, n integer, doc text)"


def _connect(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    return connection


def _fill(connection: sqlite3.Connection, count: int) -> None:
    connection.execute(_CREATE)
    documents = ((f"k{i}", doc["user"], doc["due"], i, json.dumps(doc)) for i, doc in _tasks(count))
    connection.execute("begin")
    connection.executemany("insert into tasks values (?, ?, ?, ?, ?)", documents)
    connection.execute("commit")
    connection.execute("create index by_user on tasks(user, due)")


def _tasks(count: int) -> Any:
    return ((number, task(number)) for number in range(count))


class SqliteTrigger:
    """SQLite whose trigger says which row changed; who watches it gets the row, read again."""

    def __init__(self, path: Path | str, count: int, *, watched: int = 10) -> None:
        self._connection = _connect(path)
        _fill(self._connection, count)
        self._touched: list[str] = []
        self._watchers: dict[str, Callable[[Any], object]] = {}
        self._received: list[Any] = []
        self.watch_first(watched)
        self._connection.create_function("touched", 1, self._touched.append)
        self._connection.execute(
            "create temp trigger changed after update on tasks begin select touched(new.id); end"
        )

    def watch_first(self, count: int) -> None:
        """Let each of the first `count` rows have one watcher, as a query by its key."""
        for number in range(count):
            self._watchers.setdefault(f"k{number}", self._received.append)

    def bump(self, id: str) -> None:  # noqa: A002  as livedb's function names it
        execute = self._connection.execute
        execute("begin immediate")
        execute("update tasks set n = n + 1 where id = ?", (id,))
        execute("commit")
        for each in self._touched:
            if callback := self._watchers.get(each):
                callback(execute("select n, doc from tasks where id = ?", (each,)).fetchone())
        self._touched.clear()
        self._received.clear()

    def close(self) -> None:
        self._connection.close()


class SqliteReader:
    """Documents as JSON in SQLite, by primary key and by an index."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> SqliteReader:
        return cls(_connect(path))

    @classmethod
    def make(cls, path: Path | str, count: int, *, copies: int = 1) -> SqliteReader:
        """With `copies`, each document that often, under other keys and of other users."""
        connection = _connect(path)
        _fill(connection, count)
        for copy in range(1, copies):
            connection.execute(
                "insert into tasks select id || :copy, user || :copy, due, n, doc from tasks "
                "where rowid <= :count",
                {"copy": f"-{copy}", "count": count},
            )
        return cls(connection)

    def one(self, id: str) -> Any:  # noqa: A002
        row = self._connection.execute("select doc from tasks where id = ?", (id,)).fetchone()
        return json.loads(row[0])

    def range(self, user: str) -> list[Any]:
        rows = self._connection.execute(
            "select doc from tasks where user = ? order by due limit 100", (user,)
        )
        return [json.loads(doc) for (doc,) in rows]

    def close(self) -> None:
        self._connection.close()


class SqliteBatched:
    """Many callers, one writer thread that commits what has gathered in one transaction."""

    def __init__(self, path: Path | str, count: int) -> None:
        self._connection = _connect(path)
        _fill(self._connection, count)
        self._asked: SimpleQueue[tuple[str, threading.Lock] | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write)
        self._writer.start()

    def bump(self, id: str) -> None:  # noqa: A002
        done = threading.Lock()
        done.acquire()
        self._asked.put((id, done))
        done.acquire()

    def _write(self) -> None:
        execute = self._connection.execute
        while (first := self._asked.get()) is not None:
            batch = [first]
            while not self._asked.empty() and len(batch) < 64:
                batch.append(self._asked.get())
            execute("begin immediate")
            for asked in filter(None, batch):
                row = execute("select doc from tasks where id = ?", (asked[0],)).fetchone()
                document = json.loads(row[0])
                document["n"] += 1
                execute(
                    "update tasks set n = ?, doc = ? where id = ?",
                    (document["n"], json.dumps(document), asked[0]),
                )
            execute("commit")
            for asked in filter(None, batch):
                asked[1].release()
            if None in batch:
                return

    def close(self) -> None:
        self._asked.put(None)
        self._writer.join()
        self._connection.close()


class SqliteQueue:
    """Jobs as rows: one transaction takes the first that is due, does its work and says so."""

    def __init__(self, path: Path | str, count: int) -> None:
        self._connection = _connect(path)
        _fill(self._connection, count)
        execute = self._connection.execute
        execute("create table jobs(id integer primary key, due real, state text, task text)")
        execute("create index by_due on jobs(state, due)")
        execute("insert into jobs(due, state, task) select 0, 'pending', id from tasks")

    def run_all(self) -> None:
        while self._run_one():
            pass

    def _run_one(self) -> bool:
        execute = self._connection.execute
        execute("begin immediate")
        job = execute(
            "update jobs set state = 'success' where id = (select id from jobs "
            "where state = 'pending' and due <= ? order by due limit 1) returning task",
            (time.time(),),
        ).fetchone()
        if job is not None:
            execute("update tasks set n = n + 1 where id = ?", job)
        execute("commit")
        return job is not None

    def close(self) -> None:
        self._connection.close()


class DuckdbRerun:
    """DuckDB: one UPDATE, then the query run again for the callback."""

    def __init__(self, path: Path | str, count: int) -> None:
        self._connection = duckdb.connect(str(path))
        filled = task_table(count)
        self._connection.register("filled", filled)
        self._connection.execute("create table tasks as select 'k' || n as id, * from filled")
        self._connection.unregister("filled")
        self.values: list[Any] = []

    def bump(self, id: str) -> None:  # noqa: A002
        self._connection.execute("update tasks set n = n + 1 where id = ?", [id])
        self.values.append(
            self._connection.execute("select * from tasks where id = ?", [id]).fetchall()
        )
        self.values.clear()

    def close(self) -> None:
        self._connection.close()


def each_of(steps: list[str], call: Callable[[str], object]) -> Callable[[], object]:
    """A step that calls `call` with the next of `steps`, round and round."""
    position = 0

    def step() -> object:
        nonlocal position
        position = (position + 1) % len(steps)
        return call(steps[position])

    return step
