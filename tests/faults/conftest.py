"""Fixtures of the fault tests."""

from __future__ import annotations

import pytest

from tests.faults.zygote import Zygote


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    """Forks children to be killed."""
    with Zygote(tmp_path_factory.mktemp("zygote")) as started:
        yield started
