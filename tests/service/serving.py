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

from livedb.errors import AuthenticationError
from livedb.identity import Identity
from livedb.service.access import Access, Caller
from livedb.service.app import ServiceSettings
from livedb.service.server import ServiceThread

HERE = Path(__file__).parent
INTEROP = HERE.parent / "interop"
ADMIN_KEY = "shop|0123456789"


class TokenAccess(Access):
    """Believes every token whose time is not over: what is tested here is what follows."""

    def _user(self, token):
        try:
            claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        except (ValueError, IndexError):
            raise AuthenticationError("This is no token") from None
        if claims["exp"] <= self.now_s():
            raise AuthenticationError("The token has expired", code="IdTokenExpired")
        subject = claims["sub"]
        identity = Identity(token_identifier=f"test|{subject}", subject=subject, issuer="test")
        return Caller(identity=identity, expires_s=claims["exp"])


class Served:
    """A served workspace."""

    def __init__(self, db, thread):
        self.db = db
        self.thread = thread
        self.url = thread.url
        self.port = thread.port

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
    access = TokenAccess(admin_keys=[ADMIN_KEY], is_anonymous_allowed=True)
    chosen = ServiceSettings(**settings)
    with ServiceThread(db.backend.workspace, port=port, access=access, settings=chosen) as thread:
        yield Served(db, thread)


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
    """A token that `TokenAccess` believes."""

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": subject, "iat": issued_s, "exp": expires_s}
    return f"{part({'alg': 'none'})}.{part(claims)}.x"
