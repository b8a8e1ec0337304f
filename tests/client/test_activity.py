"""What goes on in a workspace: runs of functions, newest commits, what one of them changed."""

from __future__ import annotations

import pytest

from livedb.activity import COMMITS_MAX, DOCUMENTS_MAX
from livedb.errors import SnapshotTooOldError
from livedb.text import decode_fields


def test_runs_are_counted_with_their_time_and_the_last_error(db):
    @db.query
    def picky(ctx, n: int) -> int:
        if n > 1:
            raise ValueError(f"{n} is too much\nof it")
        return n

    assert picky(1) == 1
    for n in (2, 3):
        with pytest.raises(ValueError, match="too much"):
            picky(n)
    runs = db.backend.activity().runs["picky"]
    assert (runs.runs, runs.errors, runs.error) == (3, 2, "ValueError: 3 is too much")
    assert runs.mean_s is not None
    assert runs.ago_s is not None


def test_an_action_is_counted_too(db):
    @db.action
    def ask(ctx) -> None:
        raise OSError("nobody answers")

    with pytest.raises(OSError, match="nobody"):
        ask()
    runs = db.backend.activity().runs["ask"]
    assert (runs.runs, runs.errors, runs.error) == (1, 1, "OSError: nobody answers")


def test_the_newest_commits_are_told_newest_first_with_what_they_did(db):
    @db.mutation
    def move(ctx, away: str) -> None:
        ctx.db.insert("b", {"n": 1})
        ctx.db.insert("b", {"n": 2})
        ctx.db.delete(away)

    away = db["a"].insert({"n": 0})
    before = db.number
    move(away)
    report = db.backend.activity()
    assert report.number == db.number
    assert report.counts == {"a": 0, "b": 2}
    newest = report.commits[0]
    assert (newest.number, newest.function) == (before + 1, "move")
    assert newest.changes[-2:] == ("2 documents of b", "1 document of a deleted")
    assert [each.number for each in report.commits] == sorted(
        (each.number for each in report.commits), reverse=True
    )


def test_of_many_commits_the_newest_are_told(db):
    for n in range(COMMITS_MAX + 5):
        db["a"].insert({"n": n})
    numbers = [each.number for each in db.backend.activity().commits]
    assert numbers == list(range(db.number, db.number - COMMITS_MAX, -1))
    db["a"].insert({"n": -1})
    assert db.backend.activity().commits[0].number == db.number


def test_a_load_is_told_by_its_rows(db):
    db.load("numbers", [{"n": n} for n in range(300)])
    assert "300 documents loaded into numbers" in db.backend.activity().commits[0].changes


def test_a_commit_is_told_document_by_document(db):
    kept = db["a"].insert({"n": 1, "b": b"x"})
    gone = db["a"].insert({"n": 2})

    @db.mutation
    def change(ctx) -> None:
        ctx.db.patch(kept, {"n": 5})
        ctx.db.patch(kept, {"n": 6})
        ctx.db.delete(gone)
        ctx.db.insert("a", {"n": 7})

    change()
    changes = db.backend.commit_changes(db.number)
    assert changes.line.function == "change"
    told = [
        tuple(None if text is None else decode_fields(text) for text in (each.before, each.after))
        for each in changes.documents
    ]
    assert told == [
        ({"n": 1, "b": b"x"}, {"n": 6, "b": b"x"}),
        ({"n": 2}, None),
        (None, {"n": 7}),
    ]
    assert changes.others == 0


def test_of_a_large_commit_some_documents_are_told_and_the_others_counted(db):
    db["a"].insert([{"n": n} for n in range(DOCUMENTS_MAX + 7)])
    changes = db.backend.commit_changes(db.number)
    assert len(changes.documents) == DOCUMENTS_MAX
    assert changes.others == 7
    db["a"].insert([{"text": "x" * 400_000} for _ in range(5)])
    changes = db.backend.commit_changes(db.number)
    assert (len(changes.documents), changes.others) == (2, 3)


@pytest.mark.parametrize("number", [0, 1_000])
def test_a_commit_that_is_not_there_is_refused(db, number):
    db["a"].insert({"n": 1})
    with pytest.raises(SnapshotTooOldError, match=f"Commit {number} is not in the log"):
        db.backend.commit_changes(number)


def test_livedbs_own_tables_are_not_told(db):
    db.files.put(b"content")
    report = db.backend.activity()
    assert report.counts == {}
    assert db.backend.commit_changes(db.number).documents == ()


def test_a_live_result_says_what_it_reads_and_costs(db):
    @db.table("a", indexes={"by_n": ["n"]})
    class A:
        n: int

    first = db["a"].insert({"n": 1})

    @db.query
    def reads(ctx):
        ctx.db.get(first)
        return ctx.db.query("a").with_index("by_n", n=1).collect()

    work = reads.live().work()
    assert work.runs == 1
    assert work.run_s > 0
    assert work.reads == ("a by_n, 1 document",)
    assert db["a"].live().work().reads == ("a, all of it",)


def test_who_is_connected_is_told(db):
    people = db.backend.activity().people
    if not hasattr(db, "served"):
        assert people == ()
        return
    assert [(each.role, each.client) for each in people] == [
        (each["role"], each["client"]) for each in db.who()
    ]
    assert len(people) == 1
