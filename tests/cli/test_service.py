"""Commands over a service: the same output and exit codes as over the folder of a workspace."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import threading

import httpx
import pytest

import livedb
from tests.service.serving import ADMIN_KEY, serving


@pytest.fixture
def over(run, shop):
    """Runs a command over a service of the shop; `over.db` is its `db`."""
    with livedb.open(shop) as db, serving(db) as service:

        def call(name, *args, key=ADMIN_KEY, **options):
            where = ["--url", service.url, *(["--admin-key", key] if key else [])]
            return run(*name.split(), *where, *args, **options)

        call.db, call.url = db, service.url
        yield call


def both(run, path, name, *args, **options):
    """The output of a command over the folder, then over a service of it."""
    here = run(*name.split(), path, *args, **options)
    with livedb.open(path) as db, serving(db) as service:
        where = ["--url", service.url, "--admin-key", ADMIN_KEY]
        there = run(*name.split(), *where, *args, **options)
    return here, there


@pytest.mark.parametrize(
    "name, args, code",
    [
        ("data", [], 0),
        ("data", ["--json"], 0),
        ("data", ["tasks", "--limit", "3", "--order", "asc"], 0),
        ("data", ["users", "--format", "jsonl"], 0),
        ("data", ["users", "--json"], 0),
        ("data", ["taks"], 1),
        ("sql", ["select n, title from tasks order by n", "--csv"], 0),
        ("sql", ["select count(*) from users", "--json"], 0),
        ("sql", ["select nope from users"], 1),
        ("env list", [], 0),
        ("env list", ["--json"], 0),
        ("env get", ["A"], 1),
        ("env set", ["no-name", "x"], 1),
        ("export", ["--path", "nowhere.csv", "--table", "nope"], 1),
        ("import", ["nowhere.csv", "--table", "t"], 1),
    ],
)
def test_a_service_answers_as_the_folder_does(run, shop, name, args, code):
    here, there = both(run, shop, name, *args, code=code)
    if code == 0:
        assert there.stdout == here.stdout
        assert there.stderr == here.stderr
    else:
        assert there.stdout == here.stdout == ""
        assert there.stderr.startswith("error: ")
        assert there.stderr.count("\n") == here.stderr.count("\n")


def test_run_calls_the_functions_that_the_service_has(over):
    @over.db.mutation(name="tasks:add")
    def add(ctx, title: str, n: int):
        return [ctx.db.insert("tasks", {"title": title, "n": n}), n, 3.0, livedb.Int64(4)]

    @over.db.query(name="tasks:secret", internal=True)
    def secret(ctx):
        return "s"

    @over.db.query(name="tasks:broken")
    def broken(ctx):
        raise ValueError("no luck")

    found = json.loads(over("run", "tasks:add", '{"title": "x", "n": 1}').stdout)
    assert isinstance(found[0], str)
    assert found[1:] == [1, 3.0, {"$int64": "4"}]
    assert isinstance(found[1], int)
    assert json.loads(over("run", "tasks.py:secret").stdout) == "s"
    failed = over("run", "tasks:broken", code=1)
    assert "tasks:broken raised ValueError: no luck (On the service: broken (" in failed.stderr
    assert "tasks:nope" in over("run", "tasks:nope", code=1).stderr
    assert "`title`" in over("run", "tasks:add", "{}", code=1).stderr
    over("run", "tasks:add", "[", code=2)


def test_ctrl_c_cancels_the_action_that_run_waits_for(over, program_started):
    began, cancelled = threading.Event(), threading.Event()

    @over.db.action(name="tasks:wait")
    async def wait(ctx):
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    where = ["--url", over.url, "--admin-key", ADMIN_KEY]
    caller = program_started("run", *where, "tasks:wait", stderr=subprocess.PIPE)
    assert began.wait(60)
    caller.send_signal(signal.SIGINT)
    out, said = caller.communicate(timeout=60)
    assert cancelled.wait(60)
    assert caller.returncode == 130
    assert out == ""
    assert said == ("it was sent to the service, where it is cancelled; what it committed stays\n")


@pytest.mark.parametrize("form", ["zip", "parquet", "csv", "jsonl"])
def test_tables_go_out_and_come_back_through_a_service(over, tmp_path, form):
    out = tmp_path / "out"
    out.mkdir()
    done = json.loads(over("export", "--path", out, "--format", form, "--json").stdout)
    assert done["commit"] == 2
    assert sum(done["files"].values()) == 6
    assert (
        "exported as of commit 2"
        in over("export", "--path", out / f"one.{form}", "--table", "tasks").stdout
    )
    assert (
        "exists" in over("export", "--path", out / f"one.{form}", "--table", "tasks", code=1).stderr
    )
    before = sorted((row["_id"], row["title"]) for row in over.db["tasks"].collect())
    table = [] if form == "zip" else ["--table", "tasks"]
    refused = over("import", out / f"one.{form}", *table, code=1)
    assert "'tasks' has documents already; append to it with --append" in refused.stderr
    over.db["tasks"].insert({"title": "more", "n": 9})
    text = over("import", out / f"one.{form}", *table, "--replace", "--yes").stdout
    assert text == "tasks: 5 rows\nimported as commit 4\n"
    assert sorted((row["_id"], row["title"]) for row in over.db["tasks"].collect()) == before


def test_options_of_an_import_reach_the_service(over, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("at,n\n2026-01-02 03:04:05,NA\n")
    assert "zone" in over("import", file, "--table", "t", code=1).stderr
    over("import", file, "--table", "t", "--tz", "UTC", "--null", "NA")
    assert [row["n"] for row in over.db["t"].collect()] == [None]
    lines = tmp_path / "tasks.jsonl"
    lines.write_text(over("data", "tasks", "--format", "jsonl").stdout)
    over("import", lines, "--table", "tasks", "--append", "--ids", "new")
    assert len(over.db["tasks"].collect()) == 10


def test_environment_variables_are_the_same_on_both_ways(run, shop):
    run("env", "set", shop, "GREETING", "hello")
    with livedb.open(shop) as db, serving(db) as service:
        where = ["--url", service.url, "--admin-key", ADMIN_KEY]
        assert run("env", "get", *where, "GREETING").stdout == "hello\n"
        run("env", "set", *where, "OTHER", "x")
        run("env", "remove", *where, "GREETING")
    assert run("env", "list", shop).stdout == "OTHER=x\n"


def test_logs_show_the_newest_calls(over):
    @over.db.query(name="tasks:noisy")
    def noisy(ctx):
        logging.getLogger("shop").warning("careful\x1b[31m")
        raise livedb.ApplicationError("no")

    for _ in range(3):
        httpx.post(f"{over.url}/api/query", json={"path": "tasks:noisy", "args": {}})
    shown = over("logs", "--history", "2", "--no-follow").stdout
    assert shown.count("Query tasks:noisy failed") == 2
    assert "[WARN] careful" in shown
    assert "\x1b" not in shown
    lines = over("logs", "--history", "1", "--no-follow", "--json").stdout.splitlines()
    assert [json.loads(line)["identifier"] for line in lines] == ["tasks:noisy"]
    assert over("logs", "--no-follow").stdout == ""


def test_logs_follow_until_they_are_ended(over, program_started):
    httpx.post(f"{over.url}/api/query", json={"path": "before", "args": {}})
    where = ["--url", over.url, "--admin-key", ADMIN_KEY]
    follower = program_started("logs", *where, "--history=5", "--json")
    assert json.loads(follower.stdout.readline())["identifier"] == "before"
    httpx.post(f"{over.url}/api/query", json={"path": "after", "args": {}})
    assert json.loads(follower.stdout.readline())["identifier"] == "after"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(60) == 0


def test_the_environment_may_say_where_and_with_what(run, over, shop, monkeypatch, tmp_path):
    monkeypatch.setenv("LIVEDB_URL", over.url)
    monkeypatch.setenv("LIVEDB_ADMIN_KEY", ADMIN_KEY)
    assert "tasks" in run("data").stdout
    assert run("sql", "select count(*) as n from tasks", "--csv").stdout == "n\n5\n"
    # A workspace that is named is meant.
    with livedb.open(tmp_path / "other") as db:
        db["elsewhere"].insert({})
    assert "elsewhere" in run("data", tmp_path / "other").stdout


def test_a_key_opens_with_and_without_the_name_before_it(over):
    bare = ADMIN_KEY.partition("|")[2]
    assert over("data", key=bare).stdout == over("data").stdout
    assert over("env list", key=bare).stderr == over("env list").stderr


def test_who_has_no_key_is_told(over):
    for name, args in [("data", []), ("env list", []), ("logs", ["--no-follow"])]:
        failed = over(name, *args, key="wrong", code=1)
        assert failed.stderr.startswith("error: ")
        refused = over(name, *args, key=None, code=1).stderr
        assert refused.startswith("error: ")
        assert "Give a key with --admin-key, or as LIVEDB_ADMIN_KEY" in refused
        assert "SQL" not in refused  # which nobody asked for


def test_a_service_that_is_not_there_is_told(run, monkeypatch):
    monkeypatch.setattr("livedb.client.connection.CONNECT_S_MAX", 0.2)
    for command in (["data"], ["env", "list"], ["logs"]):
        failed = run(*command, "--url", "http://127.0.0.1:1", code=1)
        assert "No livedb service answers at http://127.0.0.1:1" in failed.stderr


@pytest.mark.parametrize(
    "address, advice",
    [
        ("http://127.0.0.1:3210", "--url http://127.0.0.1:3210"),
        (
            "unix:/run/shop",
            "--url URL --admin-key KEY`; `livedb serve` and db.serve() show the URL",
        ),
    ],
)
def test_a_folder_that_another_process_serves_says_to_use_its_url(program, shop, address, advice):
    from livedb.workspaces import open_workspace

    with open_workspace(shop, limits=None) as workspace:
        workspace.files._lock.announce(address)
        for command in ("data", "serve"):  # the second one has no --url itself
            done = program(command, shop)
            assert done.returncode == 1
            assert str(os.getpid()) in done.stderr
            assert f"or use its service, as in `livedb data {advice}" in done.stderr
