"""Workspaces for tests: `db` runs a test in memory and on disk, `memory` in memory alone.

The suites of `CONTRACT` hold for a connected `db` as well; whoever serves it has it on disk, so
that one form shows both. A test that looks inside the workspace
says so with `@pytest.mark.local("why")`; one that shows something a connected `db` cannot do says
what it raises, with `@pytest.mark.gap(Error, "why")`, and fails when it no longer does. What the
"why" says is also told to users, in docs/reference.md.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import livedb
from livedb.auth.access import Role
from livedb.service.access import Access
from livedb.service.server import ServiceThread
from tests.scheduling import (
    pytest_collection_modifyitems,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)
from tests.thorough import register_profiles

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_xdist_auto_num_workers",
    "pytest_xdist_make_scheduler",
]

# Hundreds of tests start processes, and each would compile livedb anew, a third of a second, where
# the environment forbids bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# jsonschema, which whatever handles notebooks loads, builds 38 grammars of it: two seconds for each
# process of the suite. Without it jsonschema does without.
sys.modules["rfc3987_syntax"] = None

register_profiles()

CONTRACT = ("client", "ext", "functions", "live", "notebook")
"""Folders whose tests run on a connected `db` too."""


def pytest_generate_tests(metafunc):
    connected = _connected(metafunc.definition)
    on_disk = ["disk"] if "remote" not in connected else []
    for name, forms in (("db", ["memory", *on_disk]), ("memory", ["memory"])):
        if name in metafunc.fixturenames and _is_from_here(metafunc, name):
            metafunc.parametrize(name, [*forms, *connected], indirect=True)


def _is_from_here(metafunc, name):
    """Whether a module has no workspace of its own by that name."""
    return metafunc._arg2fixturedefs[name][-1].func.__module__ == __name__


def _connected(test):
    """The parameter for a connected `db`, if the test is for one."""
    if Path(test.path).parent.name not in CONTRACT or test.get_closest_marker("local"):
        return []
    gap = test.get_closest_marker("gap")
    if gap is None:
        return ["remote"]
    error, why = gap.args
    return [pytest.param("remote", marks=pytest.mark.xfail(raises=error, reason=why, strict=True))]


@pytest.fixture(autouse=True)
def _signals():
    """A test that keeps a signal for itself makes Ctrl-C do nothing in those that follow it."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    after = {each: signal.getsignal(each) for each in before}
    for each, handler in before.items():
        signal.signal(each, handler)
    assert after == before


@pytest.fixture
def db(request, tmp_path):
    with _opened(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def memory(request, tmp_path):
    with _opened(request.param, tmp_path) as opened:
        yield opened


@contextmanager
def _opened(backend, tmp_path):
    if backend == "remote":
        with livedb.open(tmp_path / "work") as served, connected(served) as opened:
            yield opened
    else:
        with livedb.open(tmp_path / "work" if backend == "disk" else None) as opened:
            yield opened


@contextmanager
def connected(served, role=Role.OWNER):
    """A `db` connected to a service around that of `served`, which it has as an attribute."""
    access = Access(served.backend.workspace.clock)
    token, _ = access.tokens.issue(role, "tests")
    with (
        ServiceThread(served.backend.workspace, access=access) as service,
        livedb.connect(service.url, token=token) as opened,
    ):
        opened.served = served
        yield opened


@pytest.fixture
def limited(request):
    """A workspace in memory with the limits given to the returned function."""
    opened = []

    def open_with(**limits):
        opened.append(livedb.open(limits=livedb.Limits(**limits)))
        return opened[-1]

    yield open_with
    for each in opened:
        each.close()


@pytest.fixture(autouse=True)
def _no_loop_of_playwright(request):
    """Playwright leaves its event loop "running" in the worker after a browser test.

    Whoever calls `asyncio.run` in a later test is told that it cannot.
    """
    if request.node.get_closest_marker("browser"):
        yield
        return
    left = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(left)
