"""The peers: the same small program on SQLite and on DuckDB, each as well as it can be written."""

from __future__ import annotations

import json
import sqlite3
import threading
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
    """SQLite whose trigger says which row changed; the callback gets the row, read again."""

    def __init__(self, path: Path | str, count: int) -> None:
        self._connection = _connect(path)
        _fill(self._connection, count)
        self._touched: list[str] = []
        self._connection.create_function("touched", 1, self._touched.append)
        self._connection.execute(
            "create temp trigger changed after update on tasks begin select touched(new.id); end"
        )
        self.values: list[Any] = []

    def bump(self, id: str) -> None:  # noqa: A002  as livedb's function names it
        execute = self._connection.execute
        execute("begin immediate")
        execute("update tasks set n = n + 1 where id = ?", (id,))
        execute("commit")
        for each in self._touched:
            self.values.append(execute("select n, doc from tasks where id = ?", (each,)).fetchone())
        self._touched.clear()
        self.values.clear()

    def close(self) -> None:
        self._connection.close()


class SqliteReader:
    """Documents as JSON in SQLite, by primary key and by an index."""

    def __init__(self, path: Path | str, count: int) -> None:
        self._connection = _connect(path)
        _fill(self._connection, count)

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
