"""joblib beside an open workspace: each way to share it is a clear error or works; none hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SHARING = ("uses_database", "uses_function", "uses_handle", "uses_table")


def run_cells(folder, backend):
    """{name of a task: what the user saw of it}."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.faults.joblib_cells", str(folder), backend],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    said = dict(line.split(" ", 1) for line in child.stdout.splitlines())
    assert said.pop("parent").startswith("FINE"), "the parent goes on, whatever its workers did"
    assert said.pop("uses_values") == "RESULT [3, 4, 5, 6]"
    return said


def test_loky_workers_are_sent_no_workspace_and_may_not_open_it(tmp_path):
    said = run_cells(tmp_path / "w", "loky")
    for name in SHARING:
        assert said[name].startswith("ERROR PicklingError"), said[name]
        assert "cannot be pickled" in said[name]
    assert said["opens_again"].startswith("ERROR WorkspaceLockedError")
    assert "is already open in process" in said["opens_again"]


def test_forked_workers_refuse_the_workspace_of_their_parent_and_may_drop_it(tmp_path):
    said = run_cells(tmp_path / "w", "multiprocessing")
    for name in (*SHARING, "opens_again"):
        assert said[name].startswith("ERROR ForkedError"), said[name]
        assert "pass data to the child, not the workspace" in said[name]
    assert said["lets_go"] == "RESULT [0, 1, 2, 3]"


def test_threads_share_a_workspace(tmp_path):
    said = run_cells(tmp_path / "w", "threading")
    for name in (*SHARING, "opens_again"):
        assert said[name].startswith("RESULT"), said[name]
