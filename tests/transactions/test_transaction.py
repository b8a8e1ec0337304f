"""Regressions of transactions; `tests/oracle` found them."""

from __future__ import annotations

import pytest

import livedb
from livedb.errors import UniqueError


def test_null_and_absent_values_share_no_unique_key() -> None:
    with livedb.open() as db:

        @db.table("users", unique={"by_email": ["email"]})
        class User:
            email: str | livedb.Missing | None = None

        assert User is not None
        db["users"].insert([{"email": None}, {"email": None}, {}, {"email": "a"}])
        with pytest.raises(UniqueError):
            db["users"].insert({"email": "a"})
