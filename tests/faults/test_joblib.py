"""joblib beside an open workspace: each way to share it is a clear error or works; none hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HANG_S = 240

SHARING = ("uses_database", "uses_function", "uses_handle", "uses_table")


def run_cells(folder, backend):
    """{name of a task: what the user saw of it}."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.joblib_cells", str(folder), backend],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, told = child.communicate(timeout=HANG_S)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it hangs:\n{where_all_are(child)}")
    assert child.returncode == 0, told
    said = dict(line.split(" ", 1) for line in out.splitlines())
    assert said.pop("parent").startswith("FINE"), "the parent goes on, whatever its workers did"
    assert said.pop("uses_values") == "RESULT [3, 4, 5, 6]"
    return said


def where_all_are(child):
    """What the cells said, and the stacks of their process and of its workers, which all end."""
    os.killpg(child.pid, signal.SIGUSR1)
    time.sleep(2)
    os.killpg(child.pid, signal.SIGKILL)
    return "\n".join(child.communicate())


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
