"""Pushed functions are in the log, when they changed."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from livedb.commitlog.payload import FunctionsPart, decode_payload, functions_of

FIRST = """
from livedb import internal_mutation, query

@query
def one(ctx, n: int) -> int:
    return n

@internal_mutation
def two(ctx):
    ctx.db.insert("t", {})
"""


@pytest.fixture
def module(tmp_path):
    names = iter(f"pushed_{n}" for n in range(10))

    def load(text):
        name = next(names)
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("pushed", path)
        made = importlib.util.module_from_spec(spec)
        sys.modules["pushed"] = made
        spec.loader.exec_module(made)
        return made

    yield load
    sys.modules.pop("pushed", None)


def logged(db):
    log = db.backend.workspace.log
    parts = [part for commit in log.read(after=0) for part in decode_payload(commit.payload)]
    return [functions_of(part) for part in parts if isinstance(part, FunctionsPart)]


def test_a_push_logs_source_kind_and_types_in_one_commit(db, module):
    before = db.number
    assert db.push(module(FIRST)) == ["pushed:one", "pushed:two"]
    assert db.number == before + 1
    ((one, two),) = logged(db)
    assert (one.name, one.kind, one.visibility) == ("pushed:one", "query", "public")
    assert one.source.strip().startswith("@query\ndef one")
    assert one.returns is not None
    assert (two.name, two.kind, two.visibility) == ("pushed:two", "mutation", "internal")
    assert db.function("pushed:one")(n=3) == 3


def test_pushing_the_same_again_commits_nothing_and_a_change_only_itself(db, module):
    db.push(module(FIRST))
    number = db.number
    db.push(module(FIRST))
    assert db.number == number
    db.push(module(FIRST.replace("return n", "return n + 1")))
    assert db.number == number + 1
    assert [function.name for function in logged(db)[-1]] == ["pushed:one"]
    assert db.function("pushed:one")(n=3) == 4


def test_a_module_with_a_function_that_cannot_be_defined_changes_nothing(db, module):
    bad = FIRST + "\n@query\ndef three(ctx, n: complex): ...\n"
    number = db.number
    with pytest.raises(Exception, match="three"):
        db.push(module(bad))
    assert (db.number, db.functions) == (number, [])
