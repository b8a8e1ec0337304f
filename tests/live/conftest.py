"""The shop, on every backend."""

from __future__ import annotations

import pytest

from tests.live import shop as items


@pytest.fixture
def shop(db):
    items.define(db)
    return db
