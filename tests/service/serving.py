"""A service on loopback, and the official clients in processes of their own.

The PyPI client holds the interpreter lock while it waits, so it can never share a process with the
service it talks to.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import websockets.sync.client as wire
from joserfc import jwk, jwt
from websockets.exceptions import ConnectionClosed

import livedb
from livedb.auth.providers import parse_providers
from livedb.limits import TOKEN_LEEWAY_S
from livedb.protocol.timestamps import decode_ts
from livedb.service.access import Access
from livedb.service.app import ServiceSettings
from livedb.service.server import ServiceThread

HERE = Path(__file__).parent
INTEROP = HERE.parent / "interop"
ADMIN_KEY = "shop|0123456789"


_KEY = jwk.generate_key("EC", "P-256")
_KEYS = base64.b64encode(json.dumps({"keys": [_KEY.as_dict(private=False)]}).encode()).decode()
PROVIDERS = parse_providers(
    {
        "providers": [
            {
                "type": "customJwt",
                "issuer": "test",
                "algorithm": "ES256",
                "jwks": f"data:application/json;base64,{_KEYS}",
            }
        ]
    }
)


def access_of(db, **options):
    """Doors that the issuer of `token` and the admin key open."""
    clock = db.backend.workspace.clock
    return Access(clock, providers=PROVIDERS, admin_keys=[ADMIN_KEY], **options)


class Served:
    """A served workspace."""

    def __init__(self, db, thread):
        self.db = db
        self.thread = thread
        self.url = thread.url
        self.port = thread.port
        self.site_url = thread.site_url
        self.site_port = thread.site_port

    def hub_is_idle(self):
        """Whether no connection is left."""
        return not self.thread._server.server_state.connections

    def npm(self, scenario, *args, **options):
        """The report of a scenario of `tests/interop/scenarios.mjs`."""
        return run_npm("scenarios.mjs", scenario, self.url, *args, **options)

    def react(self, scenario, *args):
        """The report of a scenario of `tests/interop/react.mjs`."""
        return run_npm("react.mjs", scenario, self.url, *args)

    def pypi(self, scenario, *args):
        """The report of a scenario of `pypi_scenarios.py`."""
        return run_pypi(scenario, self.url, *args)


@contextmanager
def serving(db, *, port=0, **settings):
    access = access_of(db)
    chosen = ServiceSettings(**settings)
    with ServiceThread(db.backend.workspace, port=port, access=access, settings=chosen) as thread:
        yield Served(db, thread)


@contextmanager
def connected(served, role):
    """A notebook connected with a token of that role."""
    secret, _ = served.thread._server._service._access.tokens.issue(role, "tests")
    with livedb.connect(served.url, token=secret) as remote:
        yield remote


def run_npm(script, scenario, *args, timeout_s=60):
    """Run a scenario on the official npm package; what it reports."""
    if not (INTEROP / "node_modules").exists():
        pytest.fail("the npm packages of tests/interop are not there: run `make setup`")
    node = shutil.which(
        "node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    return _report([node, str(INTEROP / script), scenario, *map(str, args)], timeout_s)


def run_pypi(scenario, *args, timeout_s=60):
    """Run a scenario on the official PyPI package; what it reports."""
    script = str(HERE / "pypi_scenarios.py")
    return _report([sys.executable, script, scenario, *map(str, args)], timeout_s)


def _report(command, timeout_s):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=HERE
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def token(subject, expires_s, issued_s=0):
    """A token of the issuer that the services of these tests believe, until that moment.

    A service believes a token a little beyond its time, which is taken off here.
    """
    early = {"iat": max(0, issued_s - TOKEN_LEEWAY_S), "exp": expires_s - TOKEN_LEEWAY_S}
    claims = {"iss": "test", "sub": subject, **early}
    return jwt.encode({"alg": "ES256"}, claims, _KEY)


class Wire:
    """A client that says exactly what a test tells it to."""

    def __init__(self, served, path="/api/1.48.0/sync", *, headers=None, session="s", **connect):
        url = f"ws://127.0.0.1:{served.port}{path}"
        self._way = wire.connect(
            url, additional_headers=headers, max_size=None, compression=None, close_timeout=1,
            open_timeout=60,
        )  # fmt: skip
        self.socket = self._way.__enter__()
        self.query_set = 0
        self.identity = 0
        self.version = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
        self.values = {}
        self.say("Connect", sessionId=session, connectionCount=0, lastCloseReason=None, **connect)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._way.__exit__(None, None, None)

    def say(self, kind, **fields):
        self.socket.send(json.dumps({"type": kind, **fields}))

    def modify(self, *modifications):
        base, self.query_set = self.query_set, self.query_set + 1
        self.say(
            "ModifyQuerySet", baseVersion=base, newVersion=self.query_set,
            modifications=list(modifications),
        )  # fmt: skip

    def add(self, query_id, path, args=None, **more):
        self.modify(
            {"type": "Add", "queryId": query_id, "udfPath": path, "args": [args or {}], **more}
        )

    def remove(self, query_id):
        self.modify({"type": "Remove", "queryId": query_id})

    def authenticate(self, kind, value=None):
        base, self.identity = self.identity, self.identity + 1
        self.say("Authenticate", baseVersion=base, tokenType=kind, value=value)

    def mutate(self, request_id, path, args=None):
        self.say("Mutation", requestId=request_id, udfPath=path, args=[args or {}])

    def act(self, request_id, path, args=None):
        self.say("Action", requestId=request_id, udfPath=path, args=[args or {}])

    def hear(self, timeout_s=20):
        """The next message; a transition must join the last one."""
        message = json.loads(self.socket.recv(timeout=timeout_s))
        if message["type"] == "Transition":
            assert message["startVersion"] == self.version
            end = message["endVersion"]
            for field in ("querySet", "identity"):
                assert end[field] >= self.version[field]
            assert decode_ts(end["ts"]) >= decode_ts(self.version["ts"])
            self.version = end
            for each in message["modifications"]:
                self.values[each["queryId"]] = each.get("value", each.get("errorMessage"))
        return message

    def hear_all(self, until):
        """Messages up to the first one for which `until` holds, that one included."""
        heard = [self.hear()]
        while not until(heard[-1]):
            heard.append(self.hear())
        return heard

    def transition(self):
        """The next transition, with whatever came before it."""
        return self.hear_all(lambda message: message["type"] == "Transition")

    def settle(self):
        """Hear on until the query set and the identity are those that were sent."""
        wanted = {"querySet": self.query_set, "identity": self.identity}
        self.hear_all(lambda _: wanted.items() <= self.version.items())

    def closed(self):
        """What is heard until the end, and the code and reason of the end."""
        heard = []
        try:
            while True:
                heard.append(self.hear())
        except ConnectionClosed as end:
            received = end.rcvd
            return heard, received and received.code, received and received.reason
