"""What functions on a service print is seen by who calls them, as Convex's clients see it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import livedb

FUNCTIONS = """
import logging
import livedb

@livedb.query
def ask(ctx): print("from", "query")

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
