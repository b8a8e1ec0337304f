"""Migrations: every document once, through failures, cancellation, kills and other commits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import livedb
from livedb import SchemaDefinitionError, define_schema, define_table, v
from livedb.ext import migrations
from livedb.ext.migrations import migration
from livedb.functions.loader import FunctionFolder

HERE = Path(__file__).parent


def wait_until(handle, holds):
    """The first value of a live handle for which `holds` is true."""
    while True:
        seen, value = handle.version, handle.value
        if holds(value):
            return value
        assert handle.wait(30, after=seen), value


@pytest.fixture
def prepared(memory):
    memory.push(migrations)
    memory["tasks"].insert([{"n": n, "runs": 0} for n in range(25)])
    return memory


def define(db, **options):
    @db.mutation(internal=True)
    @migration("tasks", **options)
    def raise_runs(ctx, task):
        """Add one to each."""
        return None if task["n"] == 7 else {"runs": task["runs"] + 1}

    return raise_runs


def progress(db):
    @db.query
    def migration_rows(ctx):
        return ctx.db.query("migrations").collect()

    return migration_rows.live()


def ended(rows):
    return bool(rows) and rows[0]["state"] != "running"


def runs_of(db):
    return sorted((row["n"], row["runs"]) for row in db["tasks"].order("asc"))


EACH_ONCE = [(n, 0 if n == 7 else 1) for n in range(25)]


def test_a_migration_changes_each_document_once_and_tells_how_far_it_is(prepared):
    rows = progress(prepared)
    begun = define(prepared, batch_documents=4)()
    assert (begun["state"], begun["total"], begun["processed"]) == ("running", 25, 0)
    (row,) = wait_until(rows, lambda rows: rows[0]["processed"] >= 8)
    assert row["processed"] % 4 == 0 or row["state"] == "done"
    (row,) = wait_until(rows, ended)
    assert (row["state"], row["processed"], row["changed"]) == ("done", 25, 24)
    assert row["error"] is None
    assert runs_of(prepared) == EACH_ONCE


def test_it_is_done_once_unless_it_is_restarted(prepared):
    rows = progress(prepared)
    migrate = define(prepared, batch_documents=10)
    migrate()
    wait_until(rows, ended)
    assert migrate()["state"] == "done"
    assert runs_of(prepared) == EACH_ONCE
    assert migrate(restart=True)["state"] == "running"
    (row,) = wait_until(rows, ended)
    assert row["processed"] == 25
    assert runs_of(prepared) == [(n, 2 * times) for n, times in EACH_ONCE]


def test_a_dry_run_shows_a_batch_and_changes_nothing(prepared):
    migrate = define(prepared, batch_documents=10)
    shown = migrate(dry_run=True)
    assert (shown["processed"], shown["changed"], len(shown["changes"])) == (10, 9, 9)
    assert shown["changes"][0]["patch"] == {"runs": 1}
    assert runs_of(prepared) == [(n, 0) for n in range(25)]
    assert prepared["migrations"].count() == 0


def test_what_fails_undoes_its_batch_says_why_and_goes_on_where_it_was(prepared):
    rows = progress(prepared)

    @prepared.mutation(internal=True, name="raise_runs")
    @migration("tasks", batch_documents=5)
    def broken(ctx, task):
        if task["n"] == 12:
            raise ValueError("twelve")
        return {"runs": task["runs"] + 1}

    broken()
    (row,) = wait_until(rows, ended)
    assert (row["state"], row["processed"], row["error"]) == ("failed", 10, "ValueError: twelve")
    assert [times for _, times in runs_of(prepared)] == [1] * 10 + [0] * 15
    define(prepared, batch_documents=5)()
    (row,) = wait_until(rows, ended)
    assert (row["state"], row["error"]) == ("done", None)
    assert runs_of(prepared) == [(7, 1) if pair[0] == 7 else pair for pair in EACH_ONCE]


def test_a_cancelled_one_stops_and_goes_on_when_it_is_called_again(prepared):
    rows = progress(prepared)

    @prepared.mutation(internal=True)
    @migration("tasks", batch_documents=5)
    def cancelling(ctx, task):
        if task["n"] == 9 and task["runs"] == 0 and not ctx.db.query("seen").first():
            ctx.db.insert("seen", {})
            ctx.db.patch(ctx.db.query("migrations").first()["_id"], {"state": "canceled"})
        return {"runs": task["runs"] + 1}

    cancelling()
    (row,) = wait_until(rows, ended)
    assert row["state"] == "canceled"
    assert cancelling(cancel=True)["state"] == "canceled"
    cancelling()
    (row,) = wait_until(rows, ended)
    assert row["state"] == "done"
    assert runs_of(prepared) == [(n, 1) for n in range(25)]


def test_cancel_before_the_next_batch_is_the_end_of_it(prepared):
    migrate = define(prepared, batch_documents=5)

    @prepared.mutation
    def begin_and_cancel(ctx):
        ctx.run_mutation(migrate)
        return ctx.run_mutation(migrate, cancel=True)["state"]

    assert begin_and_cancel() == "canceled"
    assert runs_of(prepared) == [(n, 0) for n in range(25)]
    assert migrate(cancel=True)["state"] == "canceled"


def test_documents_that_come_meanwhile_are_migrated_and_those_that_go_are_not_missed(prepared):
    rows = progress(prepared)

    @prepared.mutation(internal=True)
    @migration("tasks", batch_documents=5)
    def moving(ctx, task):
        if task["n"] == 3:
            ctx.db.insert("tasks", {"n": 100, "runs": 0})
        if task["n"] == 4:  # the last of its batch, at which the next one begins
            ctx.db.delete(task["_id"])
            return None
        return {"runs": task["runs"] + 1}

    moving()
    wait_until(rows, ended)
    assert runs_of(prepared) == [(n, 1) for n in [*range(4), *range(5, 25), 100]]


def test_options_exclude_each_other_and_a_batch_has_documents(prepared):
    migrate = define(prepared)
    with pytest.raises(livedb.FunctionTypeError, match="one of"):
        migrate(dry_run=True, restart=True)
    with pytest.raises(livedb.InvalidValueError, match="batch_documents"):
        migration("tasks", batch_documents=0)


def lives_of(path, kills):
    """Open the workspace in processes that are killed at a batch, until it is done."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "migrating.py"), str(path)]
    for life in range(kills + 1):
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        batches = 0
        for line in child.stdout:
            batches += line.startswith("batch")
            if "DONE" in line or (life < kills and batches > 2):
                break
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()


@pytest.mark.local("kills the process that has the workspace")
def test_a_killed_migration_goes_on_and_changes_each_document_once(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db.push(migrations)
        db["tasks"].insert([{"n": n, "runs": 0} for n in range(200)])
    lives_of(tmp_path / "w", kills=6)
    with livedb.open(tmp_path / "w") as db:
        (row,) = db["migrations"].order("asc").collect()
        assert (row["state"], row["processed"], row["changed"]) == ("done", 200, 200)
        assert {times for _, times in runs_of(db)} == {1}


MODULE = """
from livedb import internal_mutation, query
from livedb.ext.migrations import migration


@internal_mutation
@migration("tasks", batch_documents=4)
def raise_runs(ctx, task):
    return {"runs": task["runs"] + 1}


@query
def rows(ctx) -> list[dict]:
    return ctx.db.query("migrations").collect()
"""

SCHEMA = """
from livedb import define_schema, define_table, v
from livedb.ext import migrations

schema = define_schema(
    {**migrations.TABLES, "tasks": define_table({"n": v.integer(), "runs": v.integer()})}
)
"""


@pytest.mark.local("loads a folder of functions")
def test_a_migration_of_a_folder_of_functions_is_called_by_its_name(memory, tmp_path):
    (tmp_path / "changes.py").write_text(MODULE)
    (tmp_path / "schema.py").write_text(SCHEMA)
    with closing(FunctionFolder(tmp_path)) as folder:
        loaded = folder.load()
        memory.backend.apply_tables(list(loaded.schema))
        for definition in loaded.functions:
            memory.backend.define(definition)
        memory["tasks"].insert([{"n": n, "runs": 0} for n in range(10)])
        rows = memory.function("changes:rows").live()
        memory.function("changes:raise_runs")()
        (row,) = wait_until(rows, ended)
    assert (row["name"], row["state"], row["changed"]) == ("changes:raise_runs", "done", 10)


def test_a_table_that_is_not_there_is_refused_and_nothing_is_begun(prepared):
    @prepared.mutation(internal=True)
    @migration("taks")
    def misspelt(ctx, task):
        return {"runs": 1}

    for options in ({}, {"dry_run": True}, {"restart": True}):
        with pytest.raises(SchemaDefinitionError, match=r"no table 'taks' to migrate.*'tasks'"):
            misspelt(**options)
    assert prepared["migrations"].count() == 0


def test_a_table_without_documents_is_done_and_one_that_is_mended_begins(prepared):
    rows = progress(prepared)
    prepared.push(define_schema({"empty": define_table({"n": v.number()})}))

    def named(table):
        @prepared.mutation(internal=True, name="migrate")
        @migration(table)
        def migrate(ctx, document):
            return {"runs": document["runs"] + 1}

        return migrate

    named("empty")()
    (row,) = wait_until(rows, ended)
    assert (row["state"], row["table"], row["total"]) == ("done", "empty", 0)
    assert named("tasks")(dry_run=True)["processed"] == 25
    named("tasks")()
    (row,) = wait_until(rows, ended)
    assert (row["state"], row["table"], row["processed"]) == ("done", "tasks", 25)
    assert runs_of(prepared) == [(n, 1) for n in range(25)]


def test_a_table_that_is_dropped_meanwhile_fails_the_migration(prepared):
    rows = progress(prepared)

    @prepared.mutation(internal=True)
    @migration("tasks", batch_documents=5)
    def stopping(ctx, task):
        if task["n"] == 9:
            raise ValueError("nine")
        return {"runs": 1}

    stopping()
    wait_until(rows, ended)
    prepared["tasks"].drop()
    with pytest.raises(SchemaDefinitionError, match="no table 'tasks'"):
        stopping()
    assert prepared["migrations"].order("asc").first()["state"] == "failed"
