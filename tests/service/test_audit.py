"""What is noted of those whom a service does not let in."""

from __future__ import annotations

import logging

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import livedb
from livedb.auth.access import Role
from livedb.clock import ManualClock
from livedb.errors import PermissionDeniedError
from livedb.service import audit
from livedb.service.audit import Audit
from tests.service.serving import Wire

EVIL = {"origin": "https://evil.example"}


@pytest.fixture
def noted(caplog):
    caplog.set_level(logging.WARNING, "livedb.audit")
    return lambda: [each.getMessage() for each in caplog.records if each.name == "livedb.audit"]


def test_a_page_of_elsewhere_is_noted_with_its_origin(served, noted):
    httpx.get(f"{served.url}/version", headers=EVIL)
    url = f"ws://127.0.0.1:{served.port}/api/sync"
    with pytest.raises(InvalidStatus), connect(url, additional_headers=EVIL):
        pass
    httpx.get(f"{served.site_url}/hook", headers={"host": "evil.example"})
    host = f"127.0.0.1:{served.port}"
    whence = f"host='{host}' origin='https://evil.example'"
    assert noted() == [
        f"refused OriginNotAllowed: '127.0.0.1' 'GET /version' {whence}",
        f"refused OriginNotAllowed: '127.0.0.1' 'WebSocket /api/sync' {whence}",
        "refused HostNotAllowed: '127.0.0.1' 'GET /hook' host='evil.example'",
    ]


def test_a_wrong_token_is_noted_and_not_shown(served, noted):
    wrong = {"authorization": "Convex shop|wrong-secret"}
    httpx.post(f"{served.url}/api/query?key=in-the-url", json={"path": "tasks"}, headers=wrong)
    with Wire(served) as wire:
        wire.authenticate("User", "wrong-secret")
        wire.hear_all(lambda message: message["type"] == "AuthError")
    assert noted() == [
        "refused Unauthenticated: '127.0.0.1' 'POST /api/query'",
        "refused InvalidAuthHeader: '127.0.0.1' 'sync'",
    ]


def test_who_asks_for_more_than_their_role_is_noted_by_name(served, noted):
    tokens = served.thread._server._service.hub().access.tokens
    secret, _ = tokens.issue(Role.VIEWER, "Vic\nrefused everything")
    with livedb.connect(served.url, token=secret) as viewer, pytest.raises(PermissionDeniedError):
        viewer.sql("select 1")
    assert noted() == [r"refused Forbidden: 'Vic\nrefused everything' 'run SQL'"]


def test_what_is_let_in_is_not_noted(served, noted):
    assert httpx.get(f"{served.url}/version").status_code == 200
    httpx.post(f"{served.site_url}/hook", headers={"authorization": "Bearer of-the-handlers-own"})
    assert noted() == []


def test_strangers_do_not_decide_how_long_the_log_gets(noted):
    clock = ManualClock()
    notes = Audit(clock)
    for _ in range(audit.LINES_MAX + 500):
        notes.refused("X", who="1.2.3.4", what="x" * 10_000)
    assert len(noted()) == audit.LINES_MAX
    assert max(map(len, noted())) < 300
    clock.advance(audit.WINDOW_S)
    notes.refused("X", who="1.2.3.4", what="y")
    assert noted()[audit.LINES_MAX :] == [
        "refused 500 more requests in the minute before",
        "refused X: '1.2.3.4' 'y'",
    ]
