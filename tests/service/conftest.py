"""The shop, served."""

from __future__ import annotations

import pytest

import livedb
from tests.service import shop
from tests.service.serving import serving


@pytest.fixture
def served():
    """The shop, in memory, on loopback."""
    with livedb.open() as db:
        shop.define(db)
        with serving(db) as service:
            yield service
