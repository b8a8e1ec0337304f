"""`livedb serve` and `livedb token`, as programs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

import livedb
from livedb.errors import AuthenticationError
from tests.cli.conftest import PROGRAM, REPOSITORY

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "100"}


@contextmanager
def service(*args):
    """`livedb serve` with a free port: the process, and the URL it says."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, "serve", *map(str, args), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        line = process.stdout.readline()
        assert " is served at " in line, process.communicate()
        yield process, line.rpartition(" ")[2].strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def site_of(process):
    """The URL of the site, which the second line says."""
    line = process.stdout.readline()
    assert line.startswith("its HTTP actions are at http://127.0.0.1:")
    return line.split()[-1]


def answered(url, data=None):
    with urllib.request.urlopen(url, data, timeout=30) as answer:
        return answer.read().decode()


def ended(process, number):
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def called(url, path, kind="query", **args):
    body = json.dumps({"path": path, "args": args, "format": "json"}).encode()
    request = urllib.request.Request(
        f"{url}/api/{kind}", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture
def folder(tmp_path):
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / "tasks.py").write_text(
        "from livedb import mutation, query, MutationContext, QueryContext\n"
        "@query\n"
        "def count(ctx: QueryContext) -> int:\n"
        "    return len(ctx.db.query('tasks').collect())\n"
        "@mutation\n"
        "def add(ctx: MutationContext, title: str) -> None:\n"
        "    ctx.db.insert('tasks', {'title': title})\n"
    )
    return functions


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_ends_it_and_loses_nothing(shop, number):
    with service(shop) as (process, url):
        with livedb.open(shop) as db:  # by the local door
            for n in range(20):
                db["tasks"].insert({"title": f"more {n}"})
            assert url.startswith("http://127.0.0.1:")
            code, _, err = ended(process, number)
        assert (code, "Traceback" in err) == (0, False), err
    with livedb.open(shop) as db:
        assert db["tasks"].count() == 25


def test_functions_of_a_folder_answer_without_a_token_when_that_is_said(shop, folder):
    with service(shop, "--functions", folder, "--anonymous") as (_, url):
        assert called(url, "tasks:count")["value"] == 5
        assert called(url, "tasks:add", "mutation", title="x")["status"] == "success"
        assert called(url, "tasks:count")["value"] == 6


def test_saved_functions_are_loaded_again(shop, folder):
    with service(shop, "--functions", folder, "--watch", "--anonymous") as (_, url):
        file = folder / "tasks.py"
        file.write_text(file.read_text().replace("return len", "return -len"))
        end = time.monotonic() + 30
        while called(url, "tasks:count")["value"] != -5:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture
def routed(folder):
    """The folder, with an `http.py`."""
    (folder / "http.py").write_text(
        "from starlette.responses import PlainTextResponse\n"
        "from livedb import HttpRouter\n"
        "http = HttpRouter()\n"
        "@http.route(path='/add', method='POST')\n"
        "async def add(ctx, request):\n"
        "    await ctx.run_mutation('tasks:add', title=await request.text())\n"
        "    return PlainTextResponse(str(await ctx.run_query('tasks:count')))\n"
        "@http.route(path='/where', method='GET')\n"
        "def where(ctx, request):\n"
        "    return PlainTextResponse(ctx.env['CONVEX_SITE_URL'])\n"
    )
    return folder


def test_http_actions_of_a_folder_are_answered_on_the_site_port(shop, routed):
    with service(shop, "--functions", routed) as (process, url):
        site = site_of(process)
        assert site != url
        assert answered(f"{site}/add", b"x") == "6"
        assert answered(f"{url}/http/add", b"y") == "7"
        assert answered(f"{site}/where") == site
        code, _, err = ended(process, signal.SIGTERM)
        assert (code, "2 functions and 2 routes of" in err) == (0, True), err


def test_a_page_of_another_origin_calls_a_route_of_a_folder(shop, routed):
    file = routed / "http.py"
    file.write_text(
        file.read_text()
        .replace("method='POST'", "method='POST', cors=Cors(origins='http://localhost:5173')")
        .replace("import HttpRouter", "import Cors, HttpRouter")
    )
    page = {"Origin": "http://localhost:5173", "Access-Control-Request-Method": "POST"}
    with service(shop, "--functions", routed) as (process, _):
        asking = urllib.request.Request(f"{site_of(process)}/add", headers=page, method="OPTIONS")
        with urllib.request.urlopen(asking, timeout=30) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == page["Origin"]
            assert answer.headers["Access-Control-Allow-Methods"] == "POST"


def test_http_py_is_followed_and_a_bad_one_leaves_the_routes_as_they_were(shop, routed):
    with service(shop, "--functions", routed, "--watch") as (process, _):
        site = site_of(process)
        file = routed / "http.py"
        good = file.read_text()
        (routed / "tasks.py").write_text(
            (routed / "tasks.py").read_text().replace("return len", "return -len")
        )
        file.write_text(good.replace("method='GET'", "method='get'"))
        lines = iter(process.stderr.readline, "")
        assert any("'get' is not a method" in line for line in lines)
        assert answered(f"{site}/add", b"x") == "6"  # neither of the two was loaded
        file.write_text(good.replace("'/where'", "'/here'"))
        assert any("loaded again" in line for line in lines)
        assert answered(f"{site}/here") == site
        assert answered(f"{site}/add", b"x") == "-7"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            answered(f"{site}/where")


CRONS = """
import livedb
from tasks import add
crons = livedb.cron_jobs()
crons.interval("beat", seconds=SECONDS, fn=add, args={"title": "TITLE"})
"""


def test_crons_py_is_run_and_followed_and_functions_are_scheduled(shop, folder):
    def titles(url):
        return called(url, "more:titles")["value"]

    def wait_until(url, title):
        deadline = time.monotonic() + 60
        while title not in titles(url):
            assert time.monotonic() < deadline, titles(url)
            time.sleep(0.05)

    (folder / "more.py").write_text(
        "from livedb import mutation, query\n"
        "@query\n"
        "def titles(ctx):\n"
        "    return [row['title'] for row in ctx.db.query('tasks')]\n"
        "@mutation\n"
        "def later(ctx, title: str):\n"
        "    return ctx.scheduler.run_after(0.01, 'tasks:add', title=title)\n"
    )
    (folder / "crons.py").write_text(CRONS.replace("SECONDS", "3600").replace("TITLE", "hour"))
    with service(shop, "--functions", folder, "--watch", "--anonymous") as (_, url):
        wait_until(url, "hour")
        assert called(url, "more:later", "mutation", title="soon")["status"] == "success"
        wait_until(url, "soon")
        (folder / "crons.py").write_text(CRONS.replace("SECONDS", "1").replace("TITLE", "second"))
        wait_until(url, "second")


def free_ports():
    """Two ports, one after the other, that were free a moment ago."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
                return port


def test_the_site_is_on_the_port_that_is_said_or_the_next_one(shop, run):
    port = free_ports()
    with service(shop, "--site-port", port) as (process, _):
        assert site_of(process) == f"http://127.0.0.1:{port}"
        other = shop.with_name("other")
        taken = run("serve", other, "--port", "0", "--site-port", port, code=1)
        assert f"Cannot listen on 127.0.0.1:{port}" in taken.stderr
        same = run("serve", other, "--port", port, "--site-port", port, code=1)
        assert "another port" in same.stderr


def test_an_admin_key_opens_everything(shop, tmp_path):
    key = tmp_path / "key"
    key.write_text("shop|0123456789\n")
    with service(shop, "--admin-key-file", key) as (_, url):
        with pytest.raises(AuthenticationError):
            livedb.connect(url)
        request = urllib.request.Request(
            f"{url}/api/query",
            json.dumps({"path": "tasks:none", "args": {}, "format": "json"}).encode(),
            {"content-type": "application/json", "authorization": "Convex shop|0123456789"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    "args,words",
    [
        (["--host", "0.0.0.0"], "`livedb token create`, or give --auth-config"),
        (["--host", "0.0.0.0", "--anonymous"], "--anonymous-as"),
        (["--functions", "/nowhere"], "/nowhere"),
        (["--auth-config", "/nowhere.json"], "/nowhere.json"),
        (["--admin-key-file", "/nowhere"], "/nowhere"),
        (["--admin-key", "a b"], "visible ASCII"),
        (["--files", "s3://who:secret@bucket"], "credentials come from the environment"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_code_1(run, shop, args, words):
    for path in (shop, shop.with_name("new")):
        said = run("serve", path, *args, code=1).stderr
        assert words in said
        assert said.count("\n") == 1
    assert not path.exists()  # nothing is left of a workspace that was never served


def test_files_lie_in_the_store_that_it_is_told_and_it_is_remembered(tmp_path):
    path, store = tmp_path / "shop", tmp_path / "store"
    with service(path, "--files", store.as_uri()) as (process, _), livedb.open(path) as db:
        file = db.files.put(b"what a file holds")
        assert [each.read_bytes() for each in store.iterdir()] == [b"what a file holds"]
        assert ended(process, signal.SIGTERM)[0] == 0
    with livedb.open(path) as db, db.files.open(file) as opened:
        assert opened.read() == b"what a file holds"


def test_a_port_that_is_taken_leaves_no_new_workspace(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for args in (["--port", port], ["--port", "0", "--site-port", port]):
            said = run("serve", tmp_path / "new", *args, code=1).stderr
            assert f"Cannot listen on 127.0.0.1:{port}" in said
    assert not (tmp_path / "new").exists()


def test_functions_that_cannot_be_loaded_leave_no_new_workspace(run, tmp_path):
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / "bad.py").write_text("1 / 0")
    for args in ([], ["--watch"]):
        said = run("serve", tmp_path / "new", "--functions", functions, *args, code=1).stderr
        assert "bad.py:1: ZeroDivisionError" in said
    assert not (tmp_path / "new").exists()


def test_watch_without_functions_is_a_usage_error(run, shop):
    run("serve", shop, "--watch", code=2)


def test_types_are_kept_beside_a_page_and_follow_each_save(shop, folder, tmp_path):
    types = tmp_path / "web/_generated"
    args = (shop, "--functions", folder, "--watch", "--codegen", types)
    with service(*args) as (process, _):
        assert "count: FunctionReference" in (types / "api.d.ts").read_text()
        assert '"tasks" | "users"' in (types / "dataModel.d.ts").read_text()
        module = folder / "tasks.py"
        module.write_text(module.read_text().replace("def count(", "def how_many("))
        said = []
        while not any("loaded again" in line for line in said):
            said.append(process.stderr.readline())
            assert said[-1], said
        assert "how_many: FunctionReference" in (types / "api.d.ts").read_text()
        # What has not changed is not written, for whoever watches it.
        assert any(line.rstrip().endswith("api.d.ts") for line in said), said


def test_codegen_without_functions_is_a_usage_error(run, shop, tmp_path):
    run("serve", shop, "--codegen", tmp_path, code=2)


def test_one_that_is_open_elsewhere_is_named(program, shop):
    with livedb.open(shop):
        done = program("serve", shop)
    assert done.returncode == 1
    assert f"process {os.getpid()}" in done.stderr


def test_a_token_made_while_it_is_served_works_until_it_is_revoked(program, shop):
    with service(shop) as (_, url):
        made = json.loads(
            program("token", "create", shop, "--name", "Ann", "--role", "editor", "--json").stdout
        )
        with livedb.connect(url, token=made["token"]) as db:
            assert db["tasks"].count() == 5
            listed = program("token", "list", shop).stdout
            assert "Ann" in listed
            assert made["token"] not in listed
            assert program("token", "revoke", shop, made["id"]).returncode == 0
            end = time.monotonic() + 20
            while db.backend.status.state != "closed":
                assert time.monotonic() < end
                time.sleep(0.01)
        with pytest.raises(AuthenticationError):
            livedb.connect(url, token=made["token"])


def test_tokens_of_a_closed_workspace(run, shop):
    token = run("token", "create", shop, "--name", "Ann", "--expires-days", "0").stdout.strip()
    assert token.startswith("ldb_e_")
    [listed] = json.loads(run("token", "list", shop, "--json").stdout)
    assert (listed["name"], listed["state"], listed["expires"]) == ("Ann", "open", None)
    run("token", "revoke", shop, listed["id"])
    [listed] = json.loads(run("token", "list", shop, "--json").stdout)
    assert listed["state"] == "revoked"


def test_a_role_that_there_is_not_is_a_usage_error(run, shop):
    said = run("token", "create", shop, "--name", "Ann", "--role", "boss", code=2).stderr
    assert "'viewer'" in said


def test_an_unknown_token_is_one_line(run, shop):
    assert "'abc'" in run("token", "revoke", shop, "abc", code=1).stderr


def test_no_token_is_made_where_no_workspace_is(run, tmp_path):
    run("token", "create", tmp_path / "nothing", "--name", "Ann", code=1)
    assert not (tmp_path / "nothing").exists()
