"""Workspaces for tests: `db` runs a test in memory and on disk, `memory` in memory only."""

from __future__ import annotations

import pytest
from hypothesis import settings

import livedb

# How long an example takes says something of the machine, not of livedb.
settings.register_profile("livedb", deadline=None)
settings.load_profile("livedb")


@pytest.fixture(params=["memory", "disk"])
def db(request, tmp_path):
    path = None if request.param == "memory" else tmp_path / "work"
    with livedb.open(path) as opened:
        yield opened


@pytest.fixture
def memory():
    with livedb.open() as opened:
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
