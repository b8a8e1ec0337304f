"""The command line in this process, and as the program it is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import livedb
from livedb.cli.main import app

REPOSITORY = Path(__file__).parents[2]
PROGRAM = "import sys; sys.argv[0] = 'livedb'; from livedb.cli.main import main; main()"


@pytest.fixture
def run():
    """Runs a command here; gives its output, and checks the exit code."""
    runner = CliRunner()

    def call(*args, code=0, **options):
        result = runner.invoke(app, [str(each) for each in args], **options)
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    return call


@pytest.fixture
def program():
    """Runs the real program in a process of its own."""

    def call(*args, **options):
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, *map(str, args)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "100"},
            **options,
        )

    return call


@pytest.fixture
def shop(tmp_path):
    """A closed workspace with two tables."""
    path = tmp_path / "shop.livedb"
    with livedb.open(path) as db:
        db["tasks"].insert([{"title": f"task {n}", "n": n} for n in range(5)])
        db["users"].insert({"name": "Ada\x1b[31m", "big": livedb.Int64(7)})
    return path


@pytest.fixture
def program_started():
    """Starts the real program in a process of its own, which is ended with the test."""
    with contextlib.ExitStack() as stack:

        def call(*args, **options):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-u", "-W", "error", "-c", PROGRAM, *map(str, args)],
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                    **options,
                )
            )
            stack.callback(process.kill)
            return process

        yield call
