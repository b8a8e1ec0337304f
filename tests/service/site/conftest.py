"""The shop, served, and a client of its site."""

from __future__ import annotations

import httpx
import pytest

import livedb
from tests.service import shop
from tests.service.serving import serving


@pytest.fixture
def db():
    with livedb.open() as db:
        shop.define(db)
        yield db


@pytest.fixture
def served(db):
    with serving(db) as service:
        yield service


@pytest.fixture
def http(served):
    """A client of the site."""
    with httpx.Client(base_url=served.site_url, timeout=30) as client:
        yield client
