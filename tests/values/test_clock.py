from __future__ import annotations

import pytest

from livedb.clock import ManualClock, SystemClock
from livedb.identity import Identity


def test_a_manual_clock_moves_only_by_hand():
    clock = ManualClock(1_000)
    assert (clock.now_ns(), clock.monotonic_s()) == (1_000, 0.0)
    clock.advance(1.5)
    assert (clock.now_ns(), clock.monotonic_s()) == (1_500_001_000, 1.5)
    clock.set_ns(5)
    assert (clock.now_ns(), clock.monotonic_s()) == (5, 1.5)


def test_a_manual_clock_repeats_its_randomness():
    first, again = ManualClock(seed=3), ManualClock(seed=3)
    assert first.random_bytes(9) == again.random_bytes(9)
    assert first.random().random() == again.random().random()
    assert first.random(7).random() == again.random(7).random()


def test_a_system_clock_goes_on_and_never_repeats_itself():
    clock = SystemClock()
    assert clock.monotonic_s() <= clock.monotonic_s()
    assert clock.now_ns() > 1_700_000_000 * 10**9
    assert clock.random_bytes(16) != clock.random_bytes(16)
    assert clock.random().random() != clock.random().random()
    assert clock.random(1).random() == clock.random(1).random()


def test_an_identity_is_its_token_identifier():
    one = Identity(token_identifier="i|s", subject="s", issuer="i", claims={"name": "A"})
    same = Identity(token_identifier="i|s", subject="s", issuer="i")
    assert one == same
    assert hash(one) == hash(same)
    with pytest.raises(AttributeError):
        one.subject = "t"
