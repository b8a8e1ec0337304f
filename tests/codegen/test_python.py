"""The Python that is generated: mypy and pyright in strict mode read it, and it runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import livedb
from livedb.codegen.api import Api
from livedb.codegen.python import python_files
from tests.codegen import shop

ROOT = Path(__file__).parents[2]

SCRIPT = """\
# pyright: strict, reportPrivateUsage=false
from __future__ import annotations

from datetime import UTC, datetime

import livedb
from api import Api, TasksDocument, UsersDocument
from livedb import Id

api = Api(livedb.open())


def use(user: Id[UsersDocument]) -> None:
    tasks: list[TasksDocument] = api.tasks.list(user=user, limit=3)
    title: str = tasks[0].title
    due: datetime | None = tasks[0].due
    rows = api.tasks.list.live(user=user)
    first: TasksDocument = rows.value[0]
    made: Id[TasksDocument] = api.tasks.create(title="x", from_=datetime.now(UTC), tags={"a": 1})
    number: int = api.tasks.deep()
    done: bool = api.tasks.deep_module.work(what=None)["ok"]
    anything = api.cells.bare(value=1)
    print(title, due, first, made, number, done, anything)
"""

MISTAKES = {
    "api.tasks.list(user=user, most=3)": "most",
    "api.tasks.list()": "user",
    "api.tasks.list(user=3)": "user",
    "api.tasks.lists(user=user)": "lists",
    "api.tasks.create(title='x', from_=3, tags={})": "from_",
}


@pytest.fixture
def written(tmp_path):
    with livedb.open() as db:
        shop.define(db)
        backend = db.backend
        tables = [each.definition for each in backend.catalog()]
        api = Api.of(map(backend.definition, backend.function_names()), tables)
        for name, text in python_files(api).items():
            (tmp_path / name).write_text(text)
        yield tmp_path, db


def errors_of(folder, checker):
    """Lines of `script.py` and `api.py` that are wrong, as `file:line`."""
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'codegen'}"
    options = {"mypy": ["--strict", cache], "pyright": ["--outputjson"]}[checker]
    done = subprocess.run(
        [sys.executable, "-m", checker, *options, "script.py", "api.py"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    if checker == "mypy":
        return [line for line in done.stdout.splitlines() if ": error:" in line]
    return [
        f"{Path(one['file']).name}:{one['range']['start']['line'] + 1}: {one['message']}"
        for one in json.loads(done.stdout)["generalDiagnostics"]
        if one["severity"] == "error"
    ]


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_script_is_checked_against_the_functions_and_tables(written, checker):
    folder, _ = written
    (folder / "script.py").write_text(SCRIPT)
    assert errors_of(folder, checker) == []
    wrong = SCRIPT + "".join(f"    {line}\n" for line in MISTAKES)
    (folder / "script.py").write_text(wrong)
    found = errors_of(folder, checker)
    first = SCRIPT.count("\n") + 1
    for number, (line, named) in enumerate(MISTAKES.items(), first):
        said = [each for each in found if each.startswith(f"script.py:{number}:")]
        assert said, (line, found)
        assert any(named in each for each in said), said


def test_the_module_calls_the_functions_of_a_workspace(written):
    folder, db = written
    spec = importlib.util.spec_from_file_location("generated_api", folder / "api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    api = module.Api(db)
    assert api.tasks.deep() == 1
    assert api.cells.bare(value=[1]) == [1]
    assert api.tasks.deep_module.work(what=None) == {"ok": True}
    with pytest.raises(NotImplementedError):
        api.tasks.create(title="x", from_=datetime.now(UTC), tags={})
    with livedb.open() as other, pytest.raises(livedb.FunctionNotFoundError):
        module.Api(other)
