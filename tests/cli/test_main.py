"""The program as a whole: help, exit codes, pipes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
COMMANDS = ["check", "repair", "data", "sql", "import", "export", "run", "logs", "token", "env"]


def test_the_entry_point_is_there():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["livedb"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_without_its_packages_the_program_says_what_to_install():
    script = "import sys; sys.modules['typer'] = None; import livedb.cli.main"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: the command line needs more packages: pip install 'livedb[service]'"
    ]


def test_help_names_every_command(program):
    done = program("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f" {name} " in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples(run, name):
    text = " ".join(run(name, "--help").stdout.split())
    assert "Examples" in text
    assert f"$ livedb {name} " in text


@pytest.mark.parametrize(
    "args", [["nope"], ["data"], ["data", "x", "--limit", "zero"], ["sql", "x"], []]
)
def test_a_wrong_command_line_is_exit_code_2(run, args):
    run(*args, code=2)


def test_the_version_is_said(run):
    assert run("--version").stdout.startswith("livedb ")


def test_a_failure_is_one_line_on_stderr_and_exit_code_1(program, tmp_path):
    done = program("data", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: There is no workspace at ")
    assert "`livedb serve` and `livedb import` make one" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_traceback_is_shown_when_it_is_asked_for(program, tmp_path, monkeypatch):
    monkeypatch.setenv("LIVEDB_TRACEBACK", "1")
    done = program("data", tmp_path / "nowhere")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_a_reader_that_goes_away_is_no_error(shop):
    program = [
        sys.executable,
        "-c",
        "from livedb.cli.main import main; main()",
        "sql",
        shop,
        "select * from range(200000)",
        "--csv",
    ]
    with subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=60)
    assert errors == b""


def test_a_workspace_that_is_open_elsewhere_is_told(program, shop):
    import livedb

    with livedb.open(shop):
        done = program("data", shop)
    assert done.returncode == 1
    assert str(os.getpid()) in done.stderr
    assert "Traceback" not in done.stderr
