"""Edits of a table on screen: checked, committed, refused when others were faster, undone."""

from __future__ import annotations

import pytest

import livedb
from livedb.notebook.editing import EDITS_MAX, TableEditor


@pytest.fixture
def tasks(db):
    class Task:
        title: str
        n: int
        due: float | None = None
        note: livedb.Missing | str = livedb.UNSET

    db.table("tasks")(Task)
    return db["tasks"]


@pytest.fixture
def key(tasks):
    return tasks.insert({"title": "write", "n": 1})


@pytest.fixture
def editor(db, tasks) -> TableEditor:
    handle = tasks.live()
    yield handle.editor
    handle.close()


def test_an_edit_commits_what_was_typed(editor, tasks, key):
    assert editor.open("e", key, "n").text == "1"
    assert editor.commit("e", "2").state == "done"
    assert tasks.get(key)["n"] == 2


def test_a_text_is_checked_while_it_is_typed(editor, tasks, key):
    editor.open("e", key, "n")
    assert editor.check("e", "12").problem is None
    assert editor.check("e", "1x").problem == "'1x' is not a whole number."
    assert editor.commit("e", "1x").state == "refused"
    assert tasks.get(key)["n"] == 1
    assert editor.commit("e", "12").state == "done"  # it is still open


def test_what_others_wrote_meanwhile_is_shown_and_not_overwritten(editor, tasks, key):
    editor.open("e", key, "title")
    tasks.patch(key, {"title": "read"})
    outcome = editor.commit("e", "sing")
    assert (outcome.state, outcome.text) == ("changed", "read")
    assert outcome.problem == "Changed meanwhile to 'read'."
    assert tasks.get(key)["title"] == "read"
    assert editor.commit("e", "sing", overwrites=True).state == "done"
    assert tasks.get(key)["title"] == "sing"
    assert editor.undo().state == "done"
    assert tasks.get(key)["title"] == "read"


def test_a_change_of_another_field_is_no_conflict(editor, tasks, key):
    editor.open("e", key, "title")
    tasks.patch(key, {"n": 5})
    assert editor.commit("e", "sing").state == "done"
    assert (tasks.get(key)["title"], tasks.get(key)["n"]) == ("sing", 5)


def test_a_deleted_row_says_so(editor, tasks, key):
    editor.open("e", key, "title")
    tasks.delete(key)
    assert editor.commit("e", "sing").state == "gone"
    assert editor.open("f", key, "title").state == "gone"


def test_an_emptied_field_is_absent_or_null(editor, tasks, key):
    editor.open("e", key, "due")
    assert editor.commit("e", "3.5").state == "done"
    editor.open("e", key, "due")
    assert editor.commit("e", None).state == "done"
    assert tasks.get(key)["due"] is None
    editor.open("e", key, "note")
    assert editor.commit("e", "x").state == "done"
    editor.open("e", key, "note")
    assert editor.commit("e", None).state == "done"
    assert "note" not in tasks.get(key)
    editor.open("e", key, "title")
    assert "must have a value" in str(editor.commit("e", None).problem)


def test_undo_and_redo_go_through_the_edits(editor, tasks, key):
    for number in ("2", "3"):
        editor.open("e", key, "n")
        editor.commit("e", number)
    outcome = editor.undo()
    assert (outcome.state, outcome.key, outcome.field) == ("done", key, "n")
    assert tasks.get(key)["n"] == 2
    assert editor.undo().state == "done"
    assert tasks.get(key)["n"] == 1
    assert editor.undo().problem == "Nothing was edited here."
    assert editor.redo().state == "done"
    assert tasks.get(key)["n"] == 2


def test_undo_never_undoes_what_others_wrote_since(editor, tasks, key):
    editor.open("e", key, "n")
    editor.commit("e", "2")
    tasks.patch(key, {"n": 7})
    assert editor.undo().state == "changed"
    assert tasks.get(key)["n"] == 7


@pytest.mark.parametrize("field", ["_id", "_creationTime"])
def test_system_fields_stay_as_they_are(editor, key, field):
    assert editor.open("e", key, field).state == "refused"


def test_only_the_newest_edits_are_remembered(editor, key):
    for number in range(EDITS_MAX + 1):
        editor.open(f"e{number}", key, "n")
    assert "open the cell again" in str(editor.commit("e0", "2").problem)
    assert editor.commit(f"e{EDITS_MAX}", "2").state == "done"


def test_a_field_of_a_schemaless_table_is_of_any_type(db):
    key = db["notes"].insert({"a": 1})
    handle = db["notes"].live()
    for text, value in (("two", "two"), ("[1]", [1]), ('"3"', "3")):
        handle.editor.open("e", key, "a")
        assert handle.editor.commit("e", text).state == "done"
        assert db["notes"].get(key)["a"] == value
    handle.close()


def test_results_of_queries_have_no_editor(db, tasks):
    handle = db.sql("select 1 as n").live()
    assert handle.editor is None
    handle.close()


def test_an_index_that_must_be_unique_refuses_an_edit(db):
    class User:
        name: str

    db.table("users", unique={"by_name": ["name"]})(User)
    db["users"].insert({"name": "ann"})
    key = db["users"].insert({"name": "bob"})
    handle = db["users"].live()
    handle.editor.open("e", key, "name")
    assert "already has a document" in str(handle.editor.commit("e", "ann").problem)
    handle.close()


def test_a_row_is_added_from_what_was_typed_in_its_fields(editor, tasks):
    outcome = editor.insert({"title": "sing", "n": "3", "due": "", "note": "  x"})
    assert outcome.state == "done"
    row = tasks.get(outcome.key)
    assert (row["title"], row["n"], row["due"], row["note"]) == ("sing", 3, None, "  x")


def test_a_row_that_will_not_do_is_not_added_and_says_which_field(editor, tasks):
    assert editor.judge("n", "3").problem is None
    assert editor.judge("n", "x").problem == "'x' is not a whole number."
    outcome = editor.insert({"title": "sing", "n": "x"})
    assert (outcome.field, outcome.problem) == ("n", "n: 'x' is not a whole number.")
    missing = editor.insert({"n": "3"})
    assert missing.state == "refused"
    assert "title" in missing.problem
    assert tasks.count() == 0


def test_rows_are_deleted_at_once_and_those_that_are_gone_are_not_counted(editor, tasks, key):
    others = [tasks.insert({"title": "sing", "n": n}) for n in range(3)]
    tasks.delete(others[0])
    outcome = editor.delete([key, *others[:2]])
    assert (outcome.state, outcome.text) == ("done", "2")
    assert [row["_id"] for row in tasks.collect()] == [others[2]]


def test_rows_that_were_added_or_deleted_here_are_taken_back_with_their_ids(editor, tasks, key):
    others = [tasks.insert({"title": "sing", "n": n}) for n in range(3)]
    added = editor.insert({"title": "rest", "n": "9", "due": ""}).key
    whole = tasks.order("asc").collect()
    tasks.delete(others[0])
    editor.delete([others[0], key, others[1]])  # the first is gone already
    outcome = editor.undo()
    assert (outcome.state, outcome.text) == ("done", "2 deleted rows")
    assert tasks.order("asc").collect() == [row for row in whole if row["_id"] != others[0]]
    assert editor.undo().text == "1 added row"
    assert tasks.get(added) is None
    assert editor.redo().text == "1 added row"
    assert tasks.get(added)["title"] == "rest"
    assert editor.redo().state == "done"
    assert tasks.get(key) is None
    assert editor.undo().state == "done"
    assert tasks.get(key) is not None


def test_a_row_that_was_added_and_edited_here_is_taken_back_step_by_step(editor, tasks, key):
    added = editor.insert({"title": "rest", "n": "9", "due": ""}).key
    for text in ("10", "11"):
        editor.open("e", added, "n")
        editor.commit("e", text)
    for _ in range(3):
        assert editor.undo().state == "done"
    assert tasks.get(added) is None
    for _ in range(3):
        assert editor.redo().state == "done"
    assert tasks.get(added)["n"] == 11


def test_rows_that_others_wrote_to_since_are_not_taken_back(editor, tasks, key):
    added = editor.insert({"title": "rest", "n": "9", "due": ""}).key
    tasks.patch(added, {"n": 10})
    outcome = editor.undo()
    assert outcome.state == "refused"
    assert outcome.problem.startswith("Later commits changed 1 document")
    assert tasks.get(added)["n"] == 10


def test_a_row_that_cannot_be_deleted_keeps_all_of_them(editor, tasks, key):
    outcome = editor.delete([key, "no id"])
    assert outcome.state == "refused"
    assert tasks.count() == 1
