"""mypy --strict and pyright read the notebook API: silent on cells, exact about mistakes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


MISTAKES = (HERE / "mistakes.py.txt").read_text()

Errors = dict[str, list[tuple[int, str]]]
"""By file: the lines that are wrong, with what is said of them."""


def checked(folder: Path, *command: str) -> str:
    """Run a checker where users do: outside the checkout, whose livedb is found as installed.

    A path in PYTHONPATH counts as a folder of installed packages, so types are read only if the
    package says that it has them (`py.typed`), and no settings of ours apply.
    """
    done = subprocess.run(
        [sys.executable, "-m", *command, "cells.py", "mistakes.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def errors_of_mypy(folder: Path) -> Errors:
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'outside'}"
    options = ("--strict", "--no-error-summary", "--hide-error-context")
    said = checked(folder, "mypy", cache, *options)
    found = re.findall(r"^(\w+\.py):(\d+):(?:\d+:)? error: (.*)$", said, re.MULTILINE)
    return by_file((file, int(line), text) for file, line, text in found)


def errors_of_pyright(folder: Path) -> Errors:
    """Warnings of its strict mode included."""
    report = json.loads(checked(folder, "pyright", "--outputjson"))
    return by_file(
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["message"])
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    )


def by_file(errors: Iterable[tuple[str, int, str]]) -> Errors:
    found: Errors = {"cells.py": [], "mistakes.py": []}
    for file, line, text in errors:
        found[file].append((line, text))
    return found


@pytest.fixture(scope="module", params=[errors_of_mypy, errors_of_pyright])
def errors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """What a checker finds, which reads both files at once: it takes most of its time for livedb."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copy(HERE / "cells.py", folder)
    (folder / "mistakes.py").write_text(MISTAKES)
    found: Errors = request.param(folder)
    return found


def test_cells_as_users_write_them_are_clean(errors: Errors) -> None:
    assert errors["cells.py"] == []


def test_every_mistake_is_found_and_nothing_else(errors: Errors) -> None:
    lines = MISTAKES.splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    found = errors["mistakes.py"]
    assert {line for line, _ in found} == marked, found
