"""mypy --strict and pyright read the notebook API: silent on cells, exact about mistakes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def mypy_errors(path):
    """The lines of `path` that mypy finds wrong, with what it says."""
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    # The installed package would be read without its source tree; the checkout is what we test.
    done = subprocess.run(
        [*command, "--no-error-summary", "--hide-error-context", "--strict-equality", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(rf"^.*{path.name}:(\d+):(?:\d+:)? error: (.*)$", done.stdout, re.MULTILINE)
    return [(int(line), text) for line, text in found]


def pyright_errors(path):
    """The same for pyright, warnings of its strict mode included."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    return [
        (one["range"]["start"]["line"] + 1, one["message"])
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    ]


CHECKERS = [mypy_errors, pyright_errors]


@pytest.mark.parametrize("errors_of", CHECKERS)
def test_cells_as_users_write_them_are_clean(errors_of):
    assert errors_of(HERE / "cells.py") == []


@pytest.mark.parametrize("errors_of", CHECKERS)
def test_every_mistake_is_found_and_nothing_else(errors_of, request):
    # It must lie in the checkout, whose livedb is imported; as text it escapes `make check`.
    path = HERE / f"mistakes_{errors_of.__name__}.py"
    request.addfinalizer(lambda: path.unlink(missing_ok=True))
    shutil.copy(HERE / "mistakes.py.txt", path)
    lines = path.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    found = errors_of(path)
    assert {line for line, _ in found} == marked, found
