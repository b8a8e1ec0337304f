"""What the past survives, and what it leaves: kills, reopens, backups, older files, closing."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from random import Random

import pytest

import livedb
from livedb.auth.access import Role
from livedb.errors import ClosedError, PastTooOldError, PermissionDeniedError, SnapshotTooOldError
from livedb.past import pasts
from livedb.past.undo import DOCUMENTS_MAX
from livedb.store.position import Position
from livedb.transfer import export_snapshot, import_snapshot
from tests.conftest import connected


def numbers(past, table="t"):
    return sorted(row["n"] for row in past[table].collect())


def states_of(db):
    """Every commit of the past, by functions and by SQL."""
    found = {}
    for number in range(db.number + 1):
        past = db.at(number)
        found[number] = {name: numbers(past, name) for name in past.tables}
        for name in past.tables:
            assert sorted(past.sql(f'select n from "{name}"').df["n"]) == found[number][name]
    return found


PROGRAM = """
import os, sys, livedb
limits = livedb.Limits(fold_idle_s=1e6)
db = livedb.open(sys.argv[1], limits=limits)
a = db["t"].insert({"n": 1})
if sys.argv[2] == "folded":
    db.sql("from t")
db["t"].patch(a, {"n": 2})
db["u"].insert({"n": 5})
db["u"].insert({"n": 6})
db.drop_table("u")
db.backend.workspace.settings.change("a", lambda _: 1)
b = db["t"].insert({"n": 3})
db["t"].delete(a)
db["v"].insert({"n": 7})
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""

STATES = {
    0: {},
    1: {"t": [1]},
    2: {"t": [2]},
    3: {"t": [2], "u": [5]},
    4: {"t": [2], "u": [5, 6]},
    5: {"t": [2]},
    6: {"t": [2]},
    7: {"t": [2, 3]},
    8: {"t": [3]},
    9: {"t": [3], "v": [7]},
}


@pytest.mark.parametrize("how", ["folded", "unfolded"])
def test_the_past_survives_a_kill_before_the_fold(tmp_path, how):
    path = str(tmp_path / "w")
    subprocess.run([sys.executable, "-c", PROGRAM, path, how], check=False)
    for _ in range(2):
        with livedb.open(path) as db:
            assert states_of(db) == STATES
            changes = db.changes(0).to_arrow().to_pylist()
            kinds = [(row["number"], row["operation"], row["table"]) for row in changes]
            assert kinds == [
                (1, "insert", "t"),
                (2, "update", "t"),
                (3, "insert", "u"),
                (4, "insert", "u"),
                (5, "delete", "u"),
                (5, "delete", "u"),
                (7, "insert", "t"),
                (8, "delete", "t"),
                (9, "insert", "v"),
            ]


def test_a_backup_has_the_past(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        document = db["t"].insert({"n": 1})
        db["t"].patch(document, {"n": 2})
        db["u"].insert({"n": 3})
        db.drop_table("u")
        states = states_of(db)
        db.backup(tmp_path / "copy")
    with livedb.open(tmp_path / "copy") as copy:
        assert states_of(copy) == states


def test_the_past_of_an_older_file_begins_when_it_is_opened(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        document = db["t"].insert({"n": 1})
        db["t"].patch(document, {"n": 2})
        tables = db.backend.workspace.tables
        db.backend.workspace.folder.fold()
        with tables._writing(tables.folded_number, tables.folded_chain) as connection:
            connection.execute("drop table meta.catalogs")
            connection.execute("drop table meta.past")
            connection.execute("update meta.format set number = 2")
    with livedb.open(tmp_path / "w") as db:
        assert db.at(2)["t"].get(document)["n"] == 2
        with pytest.raises(PastTooOldError, match="back to commit 2"):
            db.at(1)
        db["t"].patch(document, {"n": 3})
        assert numbers(db.at(2)) == [2]
        assert db.at(3).sql("select n from t")[0]["n"] == 3


def test_an_older_file_that_was_never_folded_is_brought_up_to_date(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        tables = db.backend.workspace.tables
        with tables._writing(0, b"") as connection:
            connection.execute("drop table meta.catalogs")
            connection.execute("drop table meta.past")
            connection.execute("update meta.format set number = 2")
    with livedb.open(tmp_path / "w") as db:
        assert db.at(0).tables == []
        db["t"].insert({"n": 1})
        assert numbers(db.at(1)) == [1]


def test_a_repaired_workspace_has_the_past_that_its_log_has(tmp_path):
    path = tmp_path / "w"
    with livedb.open(path) as db:
        document = db["t"].insert({"n": 1})
        db["t"].patch(document, {"n": 2})
        db.drop_table("t")
    (path / "tables.duckdb").write_bytes(b"nonsense")
    livedb.repair(path)
    with livedb.open(path) as db:
        assert states_of(db) == {0: {}, 1: {"t": [1]}, 2: {"t": [2]}, 3: {}}


def test_copies_are_few_and_leave_no_files(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        for n in range(10):
            db["t"].insert({"n": n})
        for number in range(1, 11):
            assert len(numbers(db.at(number))) == number
            assert len(db.backend.workspace.pasts._kept) <= pasts.PASTS_MAX
        staging = tmp_path / "w" / "staging"
        assert len(list(staging.glob("*.duckdb"))) <= pasts.PASTS_MAX
        assert len(numbers(db.at(1))) == 1, "one that was dropped is made again"
    assert list(staging.iterdir()) == []


def test_a_past_that_was_never_made_is_not_kept(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db["t"].insert({"n": 1})
        workspace = db.backend.workspace
        workspace.folder.fold()
        past = db.at(0)
        workspace.tables.forget_history(1)
        with pytest.raises(PastTooOldError):
            past["t"].collect()
        assert not workspace.pasts._kept


def test_what_was_copied_stays_readable_when_it_is_forgotten(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db["t"].insert({"n": 1})
        db["t"].insert({"n": 2})
        past = db.at(1)
        assert numbers(past) == [1]
        workspace = db.backend.workspace
        workspace.tables.forget_history(2)
        assert numbers(past) == [1]
        with pytest.raises(PastTooOldError):
            db.at(1)


def test_a_past_is_read_while_commits_folds_and_drops_go_on(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db["t"].insert([{"n": n} for n in range(100)])
        past = db.at(db.number)
        with db.backend.workspace.pasts.reading(db.number):
            db["t"].delete(db["t"].first()["_id"])
            db.sql("from t")
            db.drop_table("t")
            db.sql("select 1")
            assert len(numbers(past)) == 100
            assert past.sql("select count(*) as c from t")[0]["c"] == 100


def test_a_closed_workspace_has_no_past(tmp_path):
    db = livedb.open(tmp_path / "w")
    db["t"].insert({"n": 1})
    past = db.at(1)
    past["t"].collect()
    db.close()
    with pytest.raises(ClosedError):
        past["t"].collect()
    with pytest.raises(ClosedError):
        db.at(1)
    assert "at commit 1" in repr(past)
    gc.collect()


def test_a_stream_is_read_page_by_page(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db["t"].insert([{"n": n} for n in range(7)])
        db.load("u", [{"n": n} for n in range(13)])
        db["t"].delete(db["t"].first()["_id"])
        changes = db.backend.workspace.changes
        whole, end = changes.page(Position(0), until=db.number)
        assert end == Position(db.number)
        for limit in (1, 2, 3, 7, 20, 21, 22):
            position, rows = Position(0), []
            while position != Position(db.number):
                page, position = changes.page(position, until=db.number, limit=limit)
                assert page.num_rows <= limit
                rows += page.to_pylist()
            assert rows == whole.to_pylist()


def test_a_stream_whose_changes_are_forgotten_meanwhile_says_so(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db["t"].insert({"n": 1})
        db["t"].insert({"n": 2})
        stream = db.changes(0)
        workspace = db.backend.workspace
        workspace.folder.fold()
        workspace.tables.forget_history(2)
        with pytest.raises(PastTooOldError, match="commit 2"):
            stream.to_arrow()


def test_a_commit_of_too_many_documents_is_not_undone(tmp_path, monkeypatch):
    assert DOCUMENTS_MAX == 100_000
    monkeypatch.setattr("livedb.past.undo.DOCUMENTS_MAX", 5)
    with livedb.open(tmp_path / "w") as db:
        db["t"].insert([{"n": n} for n in range(6)])
        with pytest.raises(livedb.UndoError, match="more than 5 documents") as refused:
            db.undo(1)
        assert refused.value.code == "TooManyDocuments"


def test_an_undo_swaps_unique_keys_back(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        v = livedb.v
        table = livedb.define_table(v.object({"k": v.string()})).index("by_k", ["k"], unique=True)
        db.push(livedb.define_schema({"t": table}))
        a, b = db["t"].insert([{"k": "a"}, {"k": "b"}])

        @db.mutation
        def swap(ctx) -> None:
            ctx.db.patch(a, {"k": "c"})
            ctx.db.patch(b, {"k": "a"})
            ctx.db.patch(a, {"k": "b"})

        swap()
        db.undo(db.number)
        assert [db["t"].get(each)["k"] for each in (a, b)] == ["a", "b"]
        found = db["t"].with_index("by_k", k="a").unique()
        assert found["_id"] == a


def test_a_file_whose_content_is_gone_is_a_document_of_the_past(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        stored = db.files.put(b"content")
        then = db.number

        @db.query
        def size(ctx, file: str) -> float | None:
            found = ctx.storage.get_metadata(file)
            return None if found is None else found["size"]

        db.files.delete(stored)
        assert size(str(stored)) is None
        assert db.at(then).function(size)(file=str(stored)) == 7


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_who_may_not_read_tables_may_not_look_into_the_past(tmp_path, role):
    """A function asks the documents of then who may see what: a past reader might see more."""
    with livedb.open(tmp_path / "w") as served:

        @served.query
        def all_of_it(ctx) -> int:
            return ctx.db.count("t")

        document = served["t"].insert({"n": 1})
        with connected(served, role) as db:
            assert db.function("all_of_it")() == 1
            for read in (
                lambda: db.at(1),
                lambda: db.history("t", document),
                lambda: db.changes(0).to_arrow(),
                lambda: db.undo(1),
            ):
                with pytest.raises(PermissionDeniedError, match="directly"):
                    read()
            asked = {"name": "all_of_it", "args": {}, "at": 1}
            with pytest.raises(PermissionDeniedError, match="read tables"):
                db.backend.ask("call", asked)
        assert served["t"].count() == 1


def test_an_editor_may_undo_and_the_log_says_who(tmp_path):
    with livedb.open(tmp_path / "w") as served:
        document = served["t"].insert({"n": 1})
        with connected(served, Role.EDITOR) as db:
            db.undo(1)
            last = db.history("t", document)[-1]
        assert (last["function"], last["author"]) == ("undo:1", "tests")


def test_a_verb_that_reads_no_past_refuses_one(tmp_path):
    with livedb.open(tmp_path / "w") as served:
        served["t"].insert({"n": 1})
        with connected(served) as db, pytest.raises(livedb.InvalidValueError, match="no read"):
            db.backend.ask("statistics", {"at": 0})


def test_an_internal_mutation_is_not_run_in_the_past_by_its_verb(tmp_path):
    with livedb.open(tmp_path / "w") as served:
        served["t"].insert({"n": 1})
        sent = {"verb": "insert", "name": "t:insert", "at": 1}
        sent["args"] = {"table": "t", "document": {"n": 2}}
        with connected(served) as db, pytest.raises(livedb.ReadOnlyError):
            db.backend.ask("table", sent)
        assert served["t"].count() == 1


def test_catalogs_are_forgotten_with_the_commits_that_needed_them(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        for name in "abcde":
            db[name].insert({"n": 1})
        workspace = db.backend.workspace
        workspace.folder.fold()
        workspace.tables.forget_history(4)
        with workspace.folder.snapshot() as snapshot:
            kept = snapshot.query("select number from meta.catalogs order by 1").column(0)
        assert kept.to_pylist() == [4, 5]
        assert db.at(4).tables == list("abcd")


def test_a_snapshot_too_old_is_no_matter_of_the_past():
    assert not issubclass(PastTooOldError, SnapshotTooOldError)
    assert not PastTooOldError.is_transient


def test_tables_that_a_load_replaced_are_in_the_past_with_their_numbers(tmp_path):
    """The ids that come carry another number, which another table may have had."""
    with livedb.open(tmp_path / "a") as a, livedb.open(tmp_path / "b") as b:
        for n in range(3):
            a["first"].insert({"n": n})
        a["t"].insert({"n": 10})
        b["t"].insert([{"n": 20}, {"n": 21}])
        b["first"].insert({"n": 30})
        export_snapshot(b.backend.workspace, tmp_path / "b.zip")
        then = a.number
        import_snapshot(a.backend.workspace, tmp_path / "b.zip", mode="replace")
        now = a.number
        a["t"].insert({"n": 22})
        for _ in range(2):
            assert numbers(a.at(then)) == [10]
            assert numbers(a.at(then), "first") == [0, 1, 2]
            assert numbers(a.at(now)) == [20, 21]
            assert numbers(a.at(now), "first") == [30]
            assert sorted(a.at(now).sql("select n from t").df["n"]) == [20, 21]
            a["t"].delete(a["t"].first()["_id"])
        rows = a.changes(then, "t").to_arrow().to_pylist()
        replaced = sorted(row["operation"] for row in rows if row["number"] == now)
        assert replaced == ["delete", "insert", "insert"]
        with pytest.raises(livedb.UndoError):
            a.undo(now)


def test_many_threads_read_many_pasts_while_commits_go_on(tmp_path):
    with livedb.open(tmp_path / "w", limits=livedb.Limits(fold_backlog_max=5)) as db:
        for n in range(8):
            db["t"].insert({"n": n})
        failed = []

        def read(seed):
            rng = Random(seed)
            try:
                for _ in range(6):
                    number = rng.randint(1, 8)
                    past = db.at(number)
                    assert len(numbers(past)) == number
                    assert past.sql("select count(*) as c from t")[0]["c"] == number
            except BaseException as error:  # noqa: BLE001  # told to the test
                failed.append(error)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
        for each in threads:
            each.start()
        while any(each.is_alive() for each in threads):
            db["t"].delete(db["t"].insert({"n": -1}))
        for each in threads:
            each.join()
        assert not failed
        kept = db.backend.workspace.pasts._kept
        assert len(kept) <= pasts.PASTS_MAX
        assert all(each.readers == 0 for each in kept.values())


def test_a_table_too_large_for_memory_is_refused_in_the_past_to_functions_alone(tmp_path):
    limits = livedb.Limits(row_memory_bytes_max=400_000)
    with livedb.open(tmp_path / "w", limits=limits) as db:
        db.load("t", [{"n": n, "s": "x" * 100} for n in range(1_000)])
        assert db["t"].count() == 1_000
        past = db.at(db.number)
        with pytest.raises(livedb.MemoryBudgetError):
            past["t"].count()
        assert past.sql("select count(*) as c from t")[0]["c"] == 1_000
