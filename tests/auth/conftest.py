"""Fixtures of the tests of tokens: keys, clocks, an issuer on loopback."""

from __future__ import annotations

import threading

import pytest

from livedb.auth.keysets import KeySets
from livedb.auth.providers import parse_providers
from livedb.auth.tokens import Verifier
from livedb.clock import ManualClock
from tests.auth.issuers import KINDS, Issuer, Signer


@pytest.fixture
def issuer():
    with Issuer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def signers():
    """One key of each kind; making an RSA key takes a moment."""
    return {algorithm: Signer(algorithm, f"{algorithm}-1") for algorithm in KINDS}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def key_sets(clock):
    with KeySets(clock) as sets:
        yield sets


@pytest.fixture
def make_verifier(clock, key_sets):
    def make(*providers: dict) -> Verifier:
        return Verifier(parse_providers({"providers": providers}), key_sets, clock)

    return make


@pytest.fixture
def claims(clock):
    """The claims of a token that is good for an hour, and whatever a test adds or changes."""

    def make(**changed) -> dict:
        now_s = clock.now_ns() // 10**9
        made = {
            "iss": "https://shop.example",
            "sub": "user_1",
            "aud": "shop",
            "iat": now_s,
            "exp": now_s + 3600,
        } | changed
        return {name: value for name, value in made.items() if value is not None}

    return make
