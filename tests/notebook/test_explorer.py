"""The explorer of a workspace, without a page: what it answers, what it holds open."""

from __future__ import annotations

import gc
import weakref

import pytest

import livedb
from livedb.notebook.explorer import OPENED_MAX, Explorer, explorer_of
from livedb.notebook.handles import open_handles
from tests.waiting import until


def handles_of(database):
    return [each for each in open_handles() if each._backend is database.backend]


@pytest.fixture
def database():
    with livedb.open() as opened:
        yield opened


@pytest.fixture
def explorer(database):
    made = Explorer(database)
    yield made
    made.close()


def open_in(explorer, what, name):
    return explorer._do({"kind": "open", "what": what, "name": name})


def lines_of(explorer, section):
    return explorer._do({"kind": "look"})["state"]["sections"][section]["lines"]


def test_a_look_tells_tables_functions_live_results_and_commits(database, explorer):
    @database.mutation
    def add(ctx, n: int = 1):
        ctx.db.insert("numbers", {"n": n})

    @database.query
    def wanting(ctx, n: int):
        return n

    add()
    handle = database["numbers"].live()
    assert lines_of(explorer, 0) == [
        {"cells": ["numbers", "1", "n", ""], "opens": ("table", "numbers")}
    ]
    functions = {each["cells"][1]: each["opens"] for each in lines_of(explorer, 1)}
    assert functions == {
        "add(n: int = 1)": ("form", "add"),
        "wanting(n: int)": ("arguments", "wanting"),
    }
    [live] = lines_of(explorer, 2)
    assert live["opens"] == ("handle", str(id(handle)))
    assert live["cells"][-1] == "numbers, all of it"
    assert lines_of(explorer, 4)[0]["opens"] == ("commit", "1")


def test_what_is_opened_is_closed_again(database, explorer):
    database["a"].insert({"n": 1})
    address = open_in(explorer, "table", "a")["address"]
    [handle] = handles_of(database)
    assert handle.widget.address == address
    explorer._do({"kind": "close", "address": address})
    assert handles_of(database) == []


def test_a_query_that_needs_arguments_asks_for_them_and_its_results_end_with_it(database, explorer):
    @database.query
    def above(ctx, least: int):
        return [each for each in ctx.db.query("a") if each["n"] > least]

    for n in range(3):
        database["a"].insert({"n": n})
    address = open_in(explorer, "arguments", "above")["address"]
    form = explorer._opened[address]
    assert [each["name"] for each in form.description["fields"]] == ["least"]
    sent = []
    form.send = sent.append
    for submission, least in enumerate(("0", "1")):
        form._answer({"kind": "submit", "id": str(submission), "drafts": {"least": least}})
        until(lambda: sent[-1]["kind"] == "done")
        sent.append({"kind": "next"})
    [handle] = handles_of(database)  # that of the newest arguments alone
    assert len(handle) == 1
    assert sent[-2]["address"] == handle.widget.address
    explorer._do({"kind": "close", "address": address})
    assert handle.is_closed


def test_a_handle_of_the_user_is_shown_and_not_closed(database, explorer):
    database["a"].insert({"n": 1})
    handle = database["a"].live()
    address = open_in(explorer, "handle", str(id(handle)))["address"]
    assert address == handle.widget.address
    explorer._do({"kind": "close", "address": address})
    assert not handle.is_closed


def test_what_is_held_open_has_a_bound(database, explorer):
    database["a"].insert({"n": 1})
    for _ in range(OPENED_MAX + 3):
        open_in(explorer, "table", "a")
    assert len(handles_of(database)) == OPENED_MAX


def test_a_commit_is_told_field_by_field(database, explorer):
    key = database["a"].insert({"n": 1, "same": "x", "gone": None})
    database["a"].replace(key, {"n": 1.0, "same": "x", "new": [2]})
    told = open_in(explorer, "commit", "2")["changes"]
    [document] = told["documents"]
    assert (document["table"], document["id"], document["what"]) == ("a", key, "changed")
    assert document["fields"] == [
        ["n", "1", "1.0"],
        ["new", None, "[2]"],
        ["gone", "None", None],
    ]


def test_wrong_messages_are_told_and_fail_only_themselves(explorer, caplog):
    sent = []
    explorer.send = sent.append
    for content in ({"kind": "nothing"}, {"kind": "open", "what": "x", "name": "y"}, {"id": 3}):
        explorer._answer(content)
    assert [each["kind"] for each in sent] == ["failed"] * 3
    explorer._answer({"id": 4, "kind": "open", "what": "commit", "name": "77"})
    assert sent[-1] == {"id": 4, "kind": "failed", "message": sent[-1]["message"]}
    assert "Commit 77" in sent[-1]["message"]
    caplog.clear()


def test_an_explorer_keeps_no_workspace_alive():
    database = livedb.open()
    made = explorer_of(database)
    assert explorer_of(database) is made
    database.close()
    known = weakref.ref(database)
    del database
    gc.collect()
    assert known() is None
    made.close()
