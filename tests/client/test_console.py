"""What functions on a service print is seen by who calls them, as Convex's clients see it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import livedb
from tests.client.cutting import Proxy

FUNCTIONS = """
import logging
import livedb

@livedb.query
def ask(ctx): print("from", "query")

@livedb.query
def count(ctx, least: int = 0):
    found = [each["n"] for each in ctx.db.query("counted").collect()]
    print("found", len(found))
    logging.getLogger("shop").warning("of all")
    if len(found) > 4:
        raise ValueError("too many")
    return [n for n in found if n >= least]

@livedb.mutation
def change(ctx, fails: bool = False):
    print("from mutation\\nin two lines", end="")
    if fails:
        raise ValueError("no luck")

@livedb.action
def act(ctx):
    ctx.run_mutation(change)
    logging.getLogger("shop").warning("from action")
"""


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    """Connected to a service in a process of its own."""
    path = tmp_path_factory.mktemp("console")
    (path / "app").mkdir()
    (path / "app" / "tasks.py").write_text(FUNCTIONS)
    script = Path(__file__).parent / "service_child.py"
    command = [sys.executable, str(script), str(path / "w"), "0", str(path / "app")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            port = int(child.stdout.readline())
            with livedb.connect(f"http://127.0.0.1:{port}") as db:
                yield db
        finally:
            child.kill()


MUTATION = "from mutation\nin two lines\n"


@pytest.mark.parametrize(
    "name,out,err",
    [
        ("ask", "from query\n", ""),
        ("change", MUTATION, ""),
        ("act", MUTATION, "[WARN] from action\n"),
    ],
)
def test_what_a_function_prints_and_logs_comes_with_its_answer(db, capsys, name, out, err):
    function = db.function(f"tasks:{name}")
    function()
    assert capsys.readouterr() == (out, err)
    asyncio.run(function.aio())
    assert capsys.readouterr() == (out, err)


def test_so_does_what_it_prints_when_it_reads_the_past(db, capsys):
    db["numbers"].insert({"n": 1})
    db.at(db.number).function("tasks:ask")()
    assert capsys.readouterr().out == "from query\n"


def test_so_does_what_one_printed_before_it_failed(db, capsys):
    with pytest.raises(ValueError, match="no luck"):
        db.function("tasks:change")(fails=True)
    assert capsys.readouterr().out == MUTATION


def commit(db, handle, n):
    """Insert a document, and wait until a handle has been told, which is after what was printed."""
    heard = threading.Event()

    def hear(change):
        heard.set()

    handle.observe(hear)
    db["counted"].insert({"n": n})
    assert heard.wait(30)
    handle.unobserve(hear)


def printed_until(capsys, text):
    """What is printed until all of `text` is, which the service may tell in several messages."""
    out, end = "", time.monotonic() + 30
    while len(out) < len(text):
        assert time.monotonic() < end, out
        time.sleep(0.01)
        out += capsys.readouterr().out
    return out


def test_what_a_live_query_prints_is_seen_at_its_first_run_and_at_each_that_is_told(db, capsys):
    first = db.function("tasks:count").live()
    assert capsys.readouterr() == ("found 0\n", "[WARN] of all\n")
    second = db.function("tasks:count").live()  # which does not run for it
    assert (second.value, capsys.readouterr()) == ([], ("", ""))
    for n in range(2):
        commit(db, first, n)
        assert capsys.readouterr() == (f"found {n + 1}\n", "[WARN] of all\n")
    # A result that stays as it was, of a run that says something else, is told of by that alone.
    other = db.function("tasks:count").live(least=100)
    assert capsys.readouterr().out == "found 2\n"
    commit(db, first, 2)
    assert printed_until(capsys, "found 3\n" * 2) == "found 3\n" * 2
    other.close()
    for n in (3, 4):
        commit(db, first, n)
    assert isinstance(first.error, ValueError)
    assert printed_until(capsys, "found 4\nfound 5\n") == "found 4\nfound 5\n"
    first.close()
    second.close()


def test_a_connection_that_is_made_again_repeats_nothing_and_tells_what_was_missed(db, capsys):
    port = int(db.backend.name.rpartition(":")[2])
    with Proxy(port) as proxy, livedb.connect(proxy.url) as other:
        handle = other.function("tasks:count").live(least=1000)
        first = capsys.readouterr().out
        for is_missed in (False, True):
            proxy.is_down = True
            proxy.cut()
            while other.status.state != "reconnecting":
                time.sleep(0.01)
            if is_missed:
                db["counted"].insert({"n": 0})
            proxy.is_down = False
            # The answer to a pull comes behind what the new connection tells.
            while other.status.state != "connected" or other.backend.pull() < db.number:
                time.sleep(0.01)
            if not is_missed:
                assert capsys.readouterr().out == ""
        again = printed_until(capsys, first)
        assert again != first
        handle.close()
