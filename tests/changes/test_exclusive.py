"""Exclusive commits beside mutations that began before them."""

from __future__ import annotations

import threading

import pytest

import livedb
from livedb.changes.bulk_loads import TableLoad
from livedb.changes.schema_changes import SchemaChanges
from livedb.errors import SchemaChangeError
from livedb.interchange.sources import open_source
from livedb.store import check_rows

WAIT_S = 20


class Slow:
    """A mutation in a thread of its own that waits inside its function until it is let go."""

    def __init__(self, db, table, document):
        self.is_inside, self.may_go = threading.Event(), threading.Event()
        self.has_committed = threading.Event()

        @db.mutation
        def write(ctx):
            ctx.db.insert(table, document)
            self.is_inside.set()
            assert self.may_go.wait(WAIT_S)

        def work():
            write()
            self.has_committed.set()

        self.thread = threading.Thread(target=work)
        self.thread.start()
        assert self.is_inside.wait(WAIT_S)

    def finish(self):
        self.may_go.set()
        self.thread.join(WAIT_S)
        assert self.has_committed.is_set()


def test_two_mutations_that_make_different_tables_at_once_both_keep_theirs(db):
    slow = Slow(db, "first", {"a": 1})
    db["second"].insert({"b": 2})
    slow.finish()
    assert db["first"].count() == db["second"].count() == 1
    assert sorted(db.tables) == ["first", "second"]


def test_a_document_committed_between_the_look_and_the_commit_is_looked_at_too(db, monkeypatch):
    db["tasks"].insert({"title": "fits"})
    slow = Slow(db, "tasks", {"title": 3})
    look = SchemaChanges._refuse_misfits
    looks = []

    def look_then_let_go(self, changed, catalog):
        look(self, changed, catalog)
        looks.append(changed)
        if len(looks) == 1:
            slow.finish()

    monkeypatch.setattr(SchemaChanges, "_refuse_misfits", look_then_let_go)

    class Task:
        title: str

    with pytest.raises(SchemaChangeError) as caught:
        db.table("tasks")(Task)
    assert caught.value.count == 1
    assert len(looks) == 1
    assert db["tasks"].count() == 2


def test_a_schema_change_beside_writers_is_whole(db):
    stop = threading.Event()

    @db.mutation
    def write(ctx, n: int):
        ctx.db.insert("numbers", {"n": n})

    def writer():
        n = 0
        while not stop.is_set():
            write(n=n)
            n += 1

    write(n=-1)
    threads = [threading.Thread(target=writer) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for indexes in ({"by_n": ["n"]}, {}, {"by_n": ["n"]}, {}):

            class Number:
                n: int

            db.table("numbers", indexes=indexes)(Number)
    finally:
        stop.set()
        for thread in threads:
            thread.join(WAIT_S)
    counted = db.sql("select count(*) c, count(n) n from numbers").to_arrow().to_pylist()
    assert counted == [{"c": db["numbers"].count(), "n": db["numbers"].count()}]


def test_a_load_beside_a_writer_keeps_a_unique_key_unique(db, monkeypatch):
    class Row:
        key: int

    db.table("rows", unique={"by_key": ["key"]})(Row)
    slow = Slow(db, "rows", {"key": 1})
    look = check_rows.load_clashes
    looks = []

    def look_then_let_go(*arguments, **options):
        look(*arguments, **options)
        looks.append(arguments)
        if len(looks) == 1:
            slow.finish()

    monkeypatch.setattr(check_rows, "load_clashes", look_then_let_go)
    with pytest.raises(livedb.errors.LivedbError) as caught:
        db.load("rows", [{"key": 1}])
    assert "by_key" in str(caught.value)
    assert len(looks) == 1
    assert db["rows"].count() == 1


def test_a_replacement_beside_a_writer_deletes_what_was_written_before_it(db, monkeypatch):
    db["rows"].insert({"key": 1})
    slow = Slow(db, "rows", {"key": 2})
    look = check_rows.load_clashes
    looks = []

    def look_then_let_go(*arguments, **options):
        look(*arguments, **options)
        looks.append(arguments)
        if len(looks) == 1:
            slow.finish()

    monkeypatch.setattr(check_rows, "load_clashes", look_then_let_go)
    replacement = TableLoad(table="rows", source=open_source([{"key": 3}]), is_replaced=True)
    db.backend.workspace.load_tables([replacement])
    assert len(looks) == 2
    assert [row["key"] for row in db["rows"].collect()] == [3]
    assert db.sql("select key from rows").to_arrow()["key"].to_pylist() == [3]
