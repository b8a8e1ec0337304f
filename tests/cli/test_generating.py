"""`livedb codegen`: from a folder of functions, a workspace and a service."""

from __future__ import annotations

import json
from contextlib import closing

import httpx
import pytest

import livedb
from livedb.functions.loader import FunctionFolder
from tests.service.serving import ADMIN_KEY, serving

TASKS = """
from datetime import datetime
from livedb import Id, internal_mutation, query

@query
def due(ctx, before: datetime, limit: int = 3) -> list[str]:
    return []

@internal_mutation
def tidy(ctx) -> None:
    pass
"""

SCHEMA = """
from livedb import define_schema, define_table, v

schema = define_schema({"tasks": define_table({"title": v.string()})})
"""


@pytest.fixture
def functions(tmp_path):
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "tasks.py").write_text(TASKS)
    (folder / "schema.py").write_text(SCHEMA)
    return folder


def test_a_folder_of_functions_needs_no_workspace(run, functions, tmp_path):
    out = tmp_path / "web"
    done = run("codegen", "--functions", functions, "--out", out)
    assert done.stdout.split() == [
        str(out / name) for name in ("api.d.ts", "api.js", "dataModel.d.ts")
    ]
    api = (out / "api.d.ts").read_text()
    assert "{ before: number; limit?: number }, Array<string>" in api
    assert "title: string" in (out / "dataModel.d.ts").read_text()


def test_what_has_not_changed_is_not_written_and_check_tells_what_would(run, functions, tmp_path):
    args = ("codegen", "--functions", functions, "--out", tmp_path / "web")
    refused = run(*args, "--check", code=1)
    assert "api.d.ts" in refused.stderr
    assert not (tmp_path / "web").exists()
    run(*args)
    written = (tmp_path / "web/api.d.ts").stat().st_mtime_ns
    assert run(*args).stdout == ""
    assert (tmp_path / "web/api.d.ts").stat().st_mtime_ns == written
    run(*args, "--check")


def test_a_workspace_brings_its_tables_and_the_folder_its_functions(run, shop, functions, tmp_path):
    out = tmp_path / "web"
    run("codegen", shop, "--functions", functions, "--out", out)
    model = (out / "dataModel.d.ts").read_text()
    assert '"tasks" | "users"' in model
    assert "due: FunctionReference" in (out / "api.d.ts").read_text()


def test_a_service_has_both(run, tmp_path):
    with livedb.open(tmp_path / "served") as served:

        @served.table("birds")
        class Bird:
            name: str

        @served.query(name="birds:all")
        def birds(ctx) -> list[Bird]:
            return ctx.db.query("birds").collect()

        with serving(served) as service:
            out = tmp_path / "web"
            run("codegen", "--url", service.url, "--admin-key", ADMIN_KEY, "--out", out)
    assert "all: FunctionReference" in (out / "api.d.ts").read_text()
    assert 'Array<Doc<"birds">>' in (out / "api.d.ts").read_text()


def test_the_spec_is_what_convex_prints(run, functions, tmp_path):
    run("codegen", "--functions", functions, "--target", "spec", "--out", tmp_path)
    spec = json.loads((tmp_path / "function_spec.json").read_text())
    due, tidy = spec["functions"]
    number = {"type": "number"}
    assert due == {
        "identifier": "tasks.js:due",
        "functionType": "Query",
        "visibility": {"kind": "public"},
        "args": {
            "type": "object",
            "value": {
                "before": {"fieldType": number, "optional": False},
                "limit": {"fieldType": number, "optional": True},
            },
        },
        "returns": {"type": "array", "value": {"type": "string"}},
    }
    assert (tidy["functionType"], tidy["visibility"]) == ("Mutation", {"kind": "internal"})


ROUTES = """
import livedb

http = livedb.HttpRouter()

@http.route(path="/tasks", method=["POST", "PUT"])
def add(ctx, request): ...

@http.route(path_prefix="/files/", method="GET")
def files(ctx, request): ...
"""


def test_the_spec_has_the_http_actions_as_a_service_tells_them(run, functions, tmp_path):
    (functions / "http.py").write_text(ROUTES)
    out = tmp_path / "function_spec.json"
    run("codegen", "--functions", functions, "--target", "spec", "--out", tmp_path)
    spec = json.loads(out.read_text())["functions"]
    routes = [each for each in spec if each["functionType"] == "HttpAction"]
    assert sorted((each["method"], each["path"]) for each in routes) == [
        ("GET", "/files/*"),
        ("POST", "/tasks"),
        ("PUT", "/tasks"),
    ]
    assert len(spec) == 5
    with livedb.open() as db:
        with closing(FunctionFolder(functions)) as folder:
            db.backend.workspace.push_functions(folder.load())
        with serving(db) as service:
            where = ["--url", service.url, "--admin-key", ADMIN_KEY]
            run("codegen", *where, "--target", "spec", "--out", tmp_path)
            asked = {"path": "_system/cli/modules:apiSpec", "args": {}, "format": "json"}
            headers = {"authorization": f"Convex {ADMIN_KEY}"}
            told = httpx.post(f"{service.url}/api/query", json=asked, headers=headers).json()
    written = json.loads(out.read_text())["functions"]
    assert sorted(written, key=json.dumps) == sorted(told["value"], key=json.dumps)
    assert sorted(map(str, written)) == sorted(map(str, spec))
    # What clients are checked against has no use for them.
    run("codegen", "--functions", functions, "--out", tmp_path / "web")
    assert "/tasks" not in (tmp_path / "web/api.d.ts").read_text()


def test_python_is_written_to_a_file_of_its_own(run, functions, tmp_path):
    run("codegen", "--functions", functions, "--target", "python", "--out", tmp_path)
    text = (tmp_path / "api.py").read_text()
    assert "before: datetime, limit: int = _given) -> list[str]" in text


def test_a_folder_that_is_not_there_is_an_error(run, tmp_path):
    refused = run("codegen", "--functions", tmp_path / "nowhere", code=1)
    assert "nowhere" in refused.stderr
