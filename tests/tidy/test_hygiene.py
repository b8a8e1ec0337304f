"""What must not be in the repository: hosts of registries, paths of a machine, outputs, to-dos.

And what must not run unasked: the long property runs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def joined(pieces: str) -> str:
    """Without its `~`: this file writes what it looks for in pieces, so as not to find itself."""
    return pieces.replace("~", "")


REGISTRY_HOSTS = re.compile(
    joined(r"python~hosted|registry\.~npmjs|registry\.~yarnpkg|py~pi\.org/simple|deb~ian\.org")
)
# Where this checkout and its user live, wherever that is, and where others have lived.
MACHINE_PATHS = re.compile(
    rf"(?<![\w.])(?:{re.escape(str(REPOSITORY))}|{re.escape(str(Path.home()))}"
    + joined(r"|/wo~rk|/fa~rm|/ro~ot)/")
)
UNFINISHED = re.compile(joined(r"\b(?:TO~DO|FIX~ME|XX~X)\b"))


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return [
        path for name in done.stdout.split("\0") if name and (path := REPOSITORY / name).exists()
    ]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture, a Parquet file
        found += [
            f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    return found


def test_no_file_names_a_package_registry():
    assert lines_with(REGISTRY_HOSTS) == []


def test_no_file_carries_a_path_of_somebodys_machine():
    assert lines_with(MACHINE_PATHS) == []


def test_no_file_is_left_unfinished():
    assert lines_with(UNFINISHED) == []


@pytest.mark.parametrize(
    "pattern,text",
    [
        (REGISTRY_HOSTS, "https://files.python~hosted.org/x"),
        (REGISTRY_HOSTS, '"resolved": "https://registry.~npmjs.org/x"'),
        (MACHINE_PATHS, 'open("/ro~ot/x")'),
        (UNFINISHED, "# TO~DO later"),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern, text):
    assert pattern.search(joined(text))


def test_notebooks_are_stored_without_outputs():
    dirty = []
    for path in tracked():
        if path.suffix != ".ipynb":
            continue
        notebook = json.loads(path.read_text())
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        if any(cell["outputs"] or cell["execution_count"] for cell in code) or (
            "widgets" in notebook["metadata"]
        ):
            dirty.append(str(path.relative_to(REPOSITORY)))
    assert dirty == []


def test_no_big_or_built_file_is_tracked():
    kept_big = {"package-lock.json", "constraints.txt"}
    assert [
        str(path.relative_to(REPOSITORY))
        for path in tracked()
        if (path.stat().st_size > 1 << 20 and path.name not in kept_big)
        or "static" in path.parts
        or "node_modules" in path.parts
    ] == []


@pytest.mark.parametrize("options, is_run", [([], False), (["-m", "oracle"], True)])
def test_the_long_property_runs_wait_to_be_asked_for(options, is_run):
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", *options]
    listed = subprocess.run(
        [*collect, "tests/oracle/test_folds.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert ("::test_sql_takes_every_stored_document_of_many_programs" in listed) == is_run


def test_no_result_of_duckdb_is_left_half_read():
    """After a `fetchone` DuckDB refuses the next `sql` of the connection; `has_rows` reads on."""
    folders = ("livedb/store", "livedb/interchange")
    paths = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    assert [path.name for path in paths if ".fetchone(" in path.read_text()] == []
