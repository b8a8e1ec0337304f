"""Other processes, forks, foreign paths, jumping clocks, backups: each has one clear outcome."""

from __future__ import annotations

import copy
import os
import pickle
import random
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest

import livedb
from livedb.clock import SystemClock
from livedb.errors import FormatError, WorkspaceLockedError
from livedb.workspaces import open_workspace
from tests.faults.checks import check_agreement, check_storm, workspace_of
from tests.faults.workloads import FILL_STEPS, LIMITS, LOAD_STEPS


def open_at_once(zygote, path, round_number):
    """Four processes open one workspace in the same moment: one wins, the others hear of it."""
    go = path.with_name(f"go-{round_number}")
    children = [zygote.start("open_at_once", path, round_number) for _ in range(4)]
    go.touch()
    deadline = time.monotonic() + 60
    while not all(child.lines() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    winners = [child for child in children if child.lines() == ["WON"]]
    said = [child.lines() for child in children]
    assert len(winners) == 1, said
    holder = winners[0].pid
    assert sorted(said) == [[f"LOCKED {holder}"]] * 3 + [["WON"]]
    with pytest.raises(WorkspaceLockedError, match=str(holder)):
        livedb.open(path)
    for child in children:
        child.kill()


def test_of_processes_that_open_one_workspace_at_once_exactly_one_wins(zygote, tmp_path):
    for round_number in range(3):
        open_at_once(zygote, tmp_path / "w", round_number)
    livedb.open(tmp_path / "w").close()


@pytest.mark.oracle
@pytest.mark.timeout(1800)
def test_exactly_one_wins_two_hundred_times_beside_a_busy_machine(zygote, tmp_path):
    """Half of the rounds find a new path, half one whose last holder was killed."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        for round_number in range(200):
            open_at_once(zygote, tmp_path / f"w{round_number // 2}", round_number)
    finally:
        for each in busy:
            each.kill()
            each.wait()


@pytest.mark.parametrize("step", LOAD_STEPS)
def test_killed_at_a_step_of_a_bulk_load_it_is_there_whole_or_not_at_all(zygote, tmp_path, step):
    child = zygote.start("load_until", tmp_path / "w", step)
    assert child.wait() == -9, child.lines()
    with livedb.open(tmp_path / "w") as db:
        found = sorted(row["n"] for row in db.sql("select n from bulk").to_arrow().to_pylist())
        assert found[:1] == [-1]
        is_committed = step not in ("writing", "staged", "in-turn")
        assert found[1:] == (list(range(500)) if is_committed else [])
        check_agreement(db)
        assert not list(workspace_of(db).files.loads.iterdir()), "a staged file is left"
        db.load("bulk", [{"n": 1_000}])
        assert len(db["bulk"].collect()) == len(found) + 1


@pytest.mark.parametrize("step", LOAD_STEPS)
def test_killed_at_a_step_of_a_replacement_all_tables_are_old_or_all_are_new(
    zygote, tmp_path, step
):
    child = zygote.start("replace_until", tmp_path / "w", step)
    assert child.wait() == -9, child.lines()
    with livedb.open(tmp_path / "w") as db:
        is_committed = step not in ("writing", "staged", "in-turn")
        for name in ("a", "b"):
            found = sorted(row["n"] for row in db[name].collect())
            assert found == ([10, 11] if is_committed else [0, 1, 2])
        check_agreement(db)
        assert not list(workspace_of(db).files.loads.iterdir()), "a staged file is left"


@pytest.mark.parametrize("step", FILL_STEPS)
def test_killed_at_a_step_of_a_fill_every_document_has_the_default_or_none(zygote, tmp_path, step):
    child = zygote.start("fill_until", tmp_path / "w", step)
    assert child.wait() == -9, child.lines()
    with livedb.open(tmp_path / "w") as db:
        found = [each.get("status") for each in db["flat"].collect()]
        levels = [each["inner"].get("level") for each in db["deep"].collect()]
        is_committed = step != "judged"
        assert found == ["done", *["todo" if is_committed else None] * 50]
        assert levels == [7 if is_committed else None] * 50
        assert (db["flat"].schema.document is not None) == is_committed
        check_agreement(db)
        assert db["flat"].insert({"n": 51, "status": "new"})
        check_agreement(db)


@pytest.mark.parametrize("step", ["before", "folding", "folded"])
def test_killed_around_a_fold_every_commit_is_there_once(zygote, tmp_path, step):
    child = zygote.start("fold_until", tmp_path / "w", step)
    assert child.wait() == -9, child.lines()
    with livedb.open(tmp_path / "w") as db:
        assert [each["n"] for each in db["items"].collect()] == list(range(51))
        check_agreement(db)


def test_in_a_forked_child_everything_refuses_and_the_parent_goes_on(zygote, tmp_path):
    child = zygote.start("fork_from", tmp_path / "w")
    assert child.wait() == 0, child.lines()
    assert child.lines()[-1] == "PARENT FINE", child.lines()


def test_a_database_and_its_handles_refuse_to_be_pickled_or_copied(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db["items"].insert({"n": 1})

        @db.query
        def count(ctx) -> int:
            return len(ctx.db.query("items").collect())

        handle = count.live()
        for thing in (db, handle, workspace_of(db)):
            with pytest.raises(TypeError, match="pickle"):
                pickle.dumps(thing)
            with pytest.raises(TypeError):
                copy.deepcopy(thing)


def sqlite_file(path):
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (a int)")
    connection.close()


def foreign_folder(path):
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")


def newer_workspace(path):
    path.mkdir()
    (path / "workspace.json").write_text('{"application": "livedb", "format": 999}')


FOREIGN = {
    "a SQLite file": sqlite_file,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a text file": lambda path: path.write_text("hello"),
    "a folder with other files": foreign_folder,
    "a newer workspace": newer_workspace,
    "a link to nowhere": lambda path: path.symlink_to(path / "nowhere" / "at" / "all"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_workspace_is_refused_untouched(tmp_path, what):
    path = tmp_path / "w"
    FOREIGN[what](path)
    before = snapshot_of(tmp_path)
    with pytest.raises(FormatError):
        livedb.open(path)
    with pytest.raises(FormatError):
        livedb.repair(path)
    assert snapshot_of(tmp_path) == before


def snapshot_of(folder):
    return {str(each): each.read_bytes() if each.is_file() else None for each in folder.rglob("*")}


class JumpingClock(SystemClock):
    """The wall clock as a bad night of NTP makes it: back an hour, on a season, standing still."""

    JUMPS_NS = (-3600 * 10**9, 100 * 86400 * 10**9, 0, -1, 10**9)

    def __init__(self):
        self._rng = random.Random(5)
        self.offset_ns = 0
        self.frozen_ns = None

    def now_ns(self):
        if self.frozen_ns is not None:
            return self.frozen_ns
        return super().now_ns() + self.offset_ns

    def jump(self):
        self.offset_ns += self._rng.choice(self.JUMPS_NS)
        self.frozen_ns = self.now_ns() if self._rng.random() < 0.3 else None


def test_numbers_and_times_grow_through_clock_jumps(tmp_path):
    from livedb.client.database import Database
    from livedb.client.local import LocalBackend
    from livedb.notebook.faces import NotebookFaces

    clock = JumpingClock()
    for _ in range(3):
        # Without the window, jumps forward would drop the log's older commits.
        limits = replace(LIMITS, retry_window_s=1e9)
        workspace = open_workspace(tmp_path / "w", limits=limits, clock=clock)
        with Database(LocalBackend(workspace), NotebookFaces()) as db:
            for n in range(60):
                clock.jump()
                db["items"].insert({"n": n})
                if n % 20 == 0:
                    db.load("bulk", [{"n": n}, {"n": n + 1}])
            commits = list(workspace.log.read(after=0))
            numbers = [commit.number for commit in commits]
            assert numbers == list(range(1, len(commits) + 1))
            times = [commit.ts for commit in commits]
            assert all(a < b for a, b in pairwise(times))
            items = db["items"].collect()
            created = [each["_creationTime"] for each in items]
            assert created == sorted(created)
            # Of equal times the id decides, which grows as long as a workspace is open.
            assert sorted(each["n"] for each in items) == sorted([*range(60)] * (len(items) // 60))
            if len(items) == 60:
                assert [each["n"] for each in items] == [*range(60)]
            check_agreement(db)


def test_a_backup_under_load_opens_at_the_commit_it_names(zygote, tmp_path):
    child = zygote.start("back_up", tmp_path / "w", 5)
    assert child.wait() == 0, child.lines()
    lines = [line.split() for line in child.lines()]
    backups = [words for words in lines if words[0] == "BACKUP"]
    assert len(backups) == 5
    for _, name, before, number, after in backups:
        assert int(before) <= int(number) <= int(after)
        with livedb.open(tmp_path / name) as db:
            assert db.number == int(number)
            check_storm(db, [])
            check_agreement(db)


def test_a_mutation_retried_at_once_by_many_happens_once(tmp_path):
    from livedb.functions.call import Call

    with livedb.open(tmp_path / "w") as db:

        @db.mutation(name="add")
        def add(ctx, n: int) -> str:
            return ctx.db.insert("items", {"n": n})

        workspace = workspace_of(db)
        definition = workspace.registry.get("add")
        results, errors = [], []

        def call(n):
            try:
                results.append(
                    (n, workspace.runner.run_mutation(
                        definition, {"n": n}, Call(mutation_id=f"s:{n}")
                    ))
                )  # fmt: skip
            except BaseException as error:  # noqa: BLE001  # shown below
                errors.append(error)

        threads = [threading.Thread(target=call, args=(i // 8,)) for i in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not errors, errors
        assert len(set(results)) == 8, "retries of one call have one result"
        assert sorted(each["n"] for each in db["items"].collect()) == list(range(8))
