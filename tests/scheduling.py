"""How `make test` spreads the files over processes: hooks of pytest and pytest-xdist.

Half of the suite's time is spent on waiting for browsers, kernels, services and disks, so there are
twice as many processes as cores. xdist hands out the files with the most tests first, which leaves
those with one long test for the end, when the other processes have nothing left to do; and it gives
a process its next file while it is still busy. So what lasts long goes first, and short files last.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

LONG = (
    "tests/browser",
    "tests/bench",
    "tests/notebooks",
    "tests/oracle",
    "tests/faults",
    "tests/jupyter",
    "tests/typing",
    "tests/cli",
    "tests/service",
    "tests/sharing",
    "tests/examples",
    "tests/travel",
    "tests/client",
)
"""Folders with tests that last or wait, the longest first."""

TOGETHER = ("tests/browser/table/", "tests/browser/workspace/")
"""The files of each share a JupyterLab and a Chromium, which each process starts for itself."""


def rank(path: str) -> int:
    """When a file has its turn."""
    return next((at for at, folder in enumerate(LONG) if path.startswith(f"{folder}/")), len(LONG))


def share_of(nodeid: str) -> str:
    """What one process takes as a whole: a file, or the files that share what is dear."""
    path = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if path.startswith(folder)), path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    if config.getoption("dist") != "loadfile":
        return None
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class InShares(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return share_of(nodeid)

    config.option.loadscopereorder = False
    return InShares(config, log)
