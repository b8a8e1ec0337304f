"""Handles of a connected workspace: what they show when a query fails."""

from __future__ import annotations

import pytest

import livedb
from livedb.auth.access import Role
from livedb.errors import ApplicationError
from livedb.service.access import Access
from livedb.service.server import ServiceThread


@pytest.fixture
def db():
    with livedb.open() as served:
        access = Access(served.backend.workspace.clock, anonymous=Role.OWNER)
        with (
            ServiceThread(served.backend.workspace, access=access) as service,
            livedb.connect(service.url) as connected,
        ):
            yield connected


def test_a_remote_handle_shows_no_value_until_its_own_first_good_one(db):
    @db.query
    def strict(ctx):
        rows = ctx.db.query("items").collect()
        if len(rows) != 1:
            raise livedb.ApplicationError(f"{len(rows)} rows")
        return [row.n for row in rows]

    handle = strict.live()
    for read in (lambda: handle.value, lambda: len(handle), lambda: handle.df):
        with pytest.raises(ApplicationError, match="0 rows"):
            read()
    db["items"].insert({"n": 1})
    assert (handle.value, handle.error) == ([1], None)
    more = db["items"].insert({"n": 2})
    assert (handle.value, handle.error.data) == ([1], "2 rows")
    later = strict.live()
    with pytest.raises(ApplicationError, match="2 rows"):
        later.value  # noqa: B018 - reading is what raises
    db["items"].delete(more)
    assert later.value == handle.value == [1]
