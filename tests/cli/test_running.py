"""`run`."""

from __future__ import annotations

import json

import pytest

TASKS = """
from livedb import action, internal_query, mutation, query

@mutation
def add(ctx, title: str):
    print("adding", title)
    return ctx.db.insert("tasks", {"title": title, "n": 1})

@query
def count(ctx) -> int:
    return len(ctx.db.query("tasks").collect())

@query
def echo(ctx, value=None):
    return value

@internal_query
def secret(ctx) -> str:
    return "s"

@query
def broken(ctx):
    raise ValueError("no luck")

@action
def twice(ctx, title: str) -> int:
    for _ in range(2):
        ctx.run_mutation("tasks:add", title=title)
    return ctx.run_query("tasks:count")
"""


@pytest.fixture
def functions(tmp_path):
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "tasks.py").write_text(TASKS)
    return folder


@pytest.fixture
def call(run, shop, functions):
    return lambda *args, **options: run("run", shop, *args, "--functions", functions, **options)


def test_a_function_runs_and_its_result_is_json(call):
    done = call("tasks:add", '{"title": "x"}')
    assert isinstance(json.loads(done.stdout), str)
    assert done.stderr == "adding x\n"
    assert json.loads(call("tasks:count").stdout) == 6
    assert json.loads(call("tasks.py:count").stdout) == 6
    assert json.loads(call("tasks:secret").stdout) == "s"


def test_an_action_runs_too(call):
    assert json.loads(call("tasks:twice", '{"title": "x"}').stdout) == 7


def test_json_may_be_asked_for(call):
    assert call("tasks:count", "--json").stdout == call("tasks:count").stdout


@pytest.mark.parametrize(
    "value", ["null", "3", "3.0", '"ä"', "[1, {}]", '{"a": {"$int64": "5"}}', '{"$float": "nan"}']
)
def test_arguments_and_results_keep_their_types(call, value):
    text = call("tasks:echo", f'{{"value": {value}}}').stdout
    assert text.split() == json.dumps(json.loads(value), indent=2, ensure_ascii=False).split()


def test_what_a_function_raises_is_one_line(call, functions):
    failed = call("tasks:broken", code=1)
    where = f"({functions}/tasks.py:23)"
    assert failed.stderr == f"error: tasks:broken raised ValueError: no luck {where}\n"


@pytest.mark.parametrize(
    "args,code,message",
    [
        (["tasks:nope"], 1, "Could not find function 'tasks:nope'"),
        (["tasks:add"], 1, "error: tasks:add: Object is missing the required field `title`"),
        (["tasks:add", "{"], 2, "no JSON"),
        (["tasks:add", "[1]"], 2, "one JSON object"),
    ],
)
def test_what_cannot_be_run_is_told(call, args, code, message):
    assert message in " ".join(call(*args, code=code).stderr.replace("│", "").split())


def test_a_module_that_cannot_be_loaded_is_told_with_its_line(call, functions):
    (functions / "bad.py").write_text("x = 1\nimport nothing_like_it\n")
    failed = call("tasks:count", code=1)
    assert f"{functions}/bad.py:2: ModuleNotFoundError" in failed.stderr


def test_there_must_be_a_folder_of_functions(run, shop, tmp_path):
    failed = run("run", shop, "tasks:count", "--functions", tmp_path / "gone", code=1)
    assert "There is no folder" in failed.stderr
