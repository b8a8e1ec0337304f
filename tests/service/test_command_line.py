"""Convex's command line tool unchanged, against a service: `npx convex ...`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import livedb
from tests.service.serving import ADMIN_KEY, INTEROP


class Convex:
    """The tool in a folder of its own; a call gives its exit code, output and messages."""

    def __init__(self, url, folder):
        package = {"name": "app", "dependencies": {"convex": "1.48.0"}}
        (folder / "package.json").write_text(json.dumps(package))
        beside = Path(sys.executable).parent
        node = shutil.which("node", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
        self._command = [node, str(INTEROP / "node_modules/convex/bin/main.js")]
        self._folder = folder
        self._url = url

    @contextmanager
    def started(self, *arguments, key=ADMIN_KEY):
        """The process, which is ended at the latest when it is left."""
        surroundings = {
            **os.environ,
            "CONVEX_SELF_HOSTED_URL": self._url,
            "CONVEX_SELF_HOSTED_ADMIN_KEY": key,
            "CI": "1",
        }
        process = subprocess.Popen(
            [*self._command, *arguments],
            cwd=self._folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def __call__(self, *arguments, key=ADMIN_KEY):
        with self.started(*arguments, key=key) as process:
            stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


@pytest.fixture
def convex(served, tmp_path):
    return Convex(served.url, tmp_path)


def test_run_calls_functions_of_every_kind_and_internal_ones(convex):
    added = convex("run", "tasks:add", '{"title": "one", "user": "ada"}')
    assert added.returncode == 0, added.stderr
    assert json.loads(convex("run", "tasks:titles", '{"user": "ada"}').stdout) == ["one"]
    assert json.loads(convex("run", "tasks:work", '{"user": "ada"}').stdout) == 2
    assert json.loads(convex("run", "tasks:secret").stdout) == "internal"


def test_run_of_an_unknown_function_lists_those_there_are(convex):
    failed = convex("run", "tasks:nope")
    assert failed.returncode == 1
    assert "Could not find function for 'tasks:nope'" in failed.stderr
    assert "tasks:titles" in failed.stderr


def test_a_wrong_key_opens_nothing(convex):
    failed = convex("run", "tasks:secret", key="shop|wrong")
    assert failed.returncode == 1
    assert "internal" not in failed.stdout


def test_data_shows_tables_and_documents(convex, served):
    add = served.db.function("tasks:add")
    for n in range(3):
        add(title=f"t{n}", user="ada")
    assert convex("data").stdout.split() == ["tasks"]
    shown = convex("data", "tasks", "--order", "asc", "--limit", "2", "--format", "jsonLines")
    assert [json.loads(line)["title"] for line in shown.stdout.splitlines()] == ["t0", "t1"]
    served.db.files.put(b"content")
    for table, count in (("_storage", 1), ("_scheduled_functions", 0)):
        shown = convex("data", table, "--format", "jsonLines")
        assert (shown.returncode, len(shown.stdout.splitlines())) == (0, count)


def test_environment_variables_are_set_read_by_functions_and_removed(convex, served):
    @served.db.query
    def greeting(ctx):
        return ctx.env.get("GREETING")

    @served.db.action
    def greet(ctx):
        return ctx.env["GREETING"]

    assert greeting() is None
    assert convex("env", "set", "GREETING", "hello").returncode == 0
    assert (greeting(), greet()) == ("hello", "hello")
    assert convex("env", "get", "GREETING").stdout.strip() == "hello"
    assert convex("env", "list").stdout.strip() == "GREETING=hello"
    assert convex("env", "remove", "GREETING").returncode == 0
    assert greeting() is None
    refused = convex("env", "set", "no-name", "x")
    assert refused.returncode == 1


def test_function_spec_says_what_functions_take(convex):
    spec = json.loads(convex("function-spec").stdout)
    functions = {each["identifier"]: each for each in spec["functions"]}
    assert functions["tasks.js:list"]["functionType"] == "Query"
    assert functions["tasks.js:secret"]["visibility"] == {"kind": "internal"}
    assert functions["tasks.js:list"]["args"]["value"]["user"]["fieldType"] == {"type": "string"}


def test_logs_show_what_ran(convex, served):
    assert convex("run", "tasks:fail").returncode == 1
    with convex.started("logs", "--history", "10") as watching:  # until it is ended
        assert any("[CONVEX M(tasks:fail)]" in line for line in watching.stdout)


def test_environment_variables_stay_and_no_table_shows_them(tmp_path):
    from livedb.functions.system_functions import UPDATE_ENVIRONMENT

    for is_first in (True, False):
        with livedb.open(tmp_path / "work") as db:

            @db.query
            def read(ctx):
                return dict(ctx.env)

            if is_first:
                update = db.function(UPDATE_ENVIRONMENT)
                update(changes=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
                handle = read.live()
                update(changes=[{"name": "A", "value": "3"}, {"name": "B"}])
                assert handle.value == {"A": "3"}
            assert read() == {"A": "3"}
            assert db.tables == []
            assert db.functions == ["read"]
            with pytest.raises(livedb.SqlError):
                db.sql("select * from _environment_variables").df  # noqa: B018
            with pytest.raises(livedb.SchemaDefinitionError):
                db["_environment_variables"].insert({"name": "C", "value": "4"})


def shown(served):
    return sorted((row.title, row.n) for row in served.db["tasks"].collect())


def left_in_staging(served):
    return list(served.db.backend.workspace.files.staging.iterdir())


def test_a_snapshot_is_exported_and_imported_again(convex, served, tmp_path):
    add = served.db.function("tasks:add")
    for n in range(3):
        add(title=f"t{n}", user="ada", n=n)
    before = shown(served)
    ids = {row["_id"] for row in served.db["tasks"].collect()}
    file = tmp_path / "shop.zip"
    exported = convex("export", "--path", str(file))
    assert exported.returncode == 0, exported.stderr
    add(title="later", user="ada")

    refused = convex("import", str(file))
    assert refused.returncode == 1
    assert "'tasks' has documents already" in refused.stderr
    assert len(shown(served)) == 4

    replaced = convex("import", str(file), "--replace", "--yes")
    assert replaced.returncode == 0, replaced.stderr
    assert "tasks: removes 4 documents" in replaced.stderr
    assert "Added 3 documents" in replaced.stderr
    assert shown(served) == before
    assert {row["_id"] for row in served.db["tasks"].collect()} == ids


def test_files_are_exported_when_asked_for_and_imported(convex, served, tmp_path):
    file = served.db.files.put(b"pixels", content_type="image/png")
    served.db.function("tasks:add")(title="t", user="ada", n=1)
    for option in ((), ("--include-file-storage",)):
        path = tmp_path / f"shop{len(option)}.zip"
        exported = convex("export", "--path", str(path), *option)
        assert exported.returncode == 0, exported.stderr
        with zipfile.ZipFile(path) as members:
            assert (f"_storage/{file}" in members.namelist()) == bool(option)
    served.db.files.delete(file)
    served.db.files.put(b"another")
    replaced = convex("import", str(path), "--replace", "--yes")
    assert replaced.returncode == 0, replaced.stderr
    assert "_storage: removes 1 document" in replaced.stderr
    with served.db.files.open(file) as opened:
        assert opened.read() == b"pixels"
    assert [row["_id"] for row in served.db.files] == [file]


def test_an_export_goes_into_a_folder_under_its_own_name(convex, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    assert convex("export", "--path", str(folder)).returncode == 0
    (file,) = folder.iterdir()
    assert file.name.startswith("snapshot_")
    assert file.suffix == ".zip"


@pytest.mark.parametrize(
    "name, text",
    [
        ("more.csv", "title,user,n\nfrom a file,bob,7\n"),
        ("more.jsonl", '{"title": "from a file", "user": "bob", "n": 7}\n'),
        ("more.json", '[{"title": "from a file", "user": "bob", "n": 7}]'),
    ],
)
def test_a_file_of_one_table_is_imported_in_each_mode(convex, served, tmp_path, name, text):
    served.db.function("tasks:add")(title="mine", user="ada", n=1)
    file = tmp_path / name
    file.write_text(text)
    assert convex("import", str(file), "--table", "tasks").returncode == 1
    added = convex("import", str(file), "--table", "tasks", "--append")
    assert added.returncode == 0, added.stderr
    assert shown(served) == [("from a file", 7), ("mine", 1)]
    assert convex("import", str(file), "--table", "tasks", "--replace", "-y").returncode == 0
    assert shown(served) == [("from a file", 7)]
    assert left_in_staging(served) == []


def test_replace_all_empties_the_other_tables(convex, served, tmp_path):
    served.db["others"].insert({"n": 1})
    file = tmp_path / "one.jsonl"
    file.write_text('{"title": "a", "user": "b", "n": 1}\n')
    done = convex("import", str(file), "--table", "tasks", "--replace-all", "--yes")
    assert "others: removes 1 document" in done.stderr
    assert (len(shown(served)), len(served.db["others"].collect())) == (1, 0)


def test_what_cannot_be_imported_is_told_and_changes_nothing(convex, served, tmp_path):
    served.db.function("tasks:add")(title="mine", user="ada", n=1)
    wrong = tmp_path / "wrong.zip"
    wrong.write_bytes(b"no zip")
    failed = convex("import", str(wrong), "--replace", "--yes")
    assert failed.returncode == 1
    assert "the file" in failed.stderr
    misfit = tmp_path / "misfit.jsonl"
    misfit.write_text('{"title": 5, "user": "b", "n": 1}\n')
    failed = convex("import", str(misfit), "--table", "tasks", "--append")
    assert failed.returncode == 1
    assert "title" in failed.stderr
    assert shown(served) == [("mine", 1)]
    assert left_in_staging(served) == []


def test_a_file_of_several_parts_arrives_whole(convex, served, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVEX_IMPORT_CHUNK_SIZE", "1000")
    file = tmp_path / "many.jsonl"
    lines = [f'{{"title": "task {n}", "user": "ada", "n": {n}}}\n' for n in range(200)]
    file.write_text("".join(lines))
    done = convex("import", str(file), "--table", "tasks")
    assert done.returncode == 0, done.stderr
    assert shown(served) == sorted((f"task {n}", n) for n in range(200))
