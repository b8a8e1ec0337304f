from __future__ import annotations

import threading

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


def test_a_clock_moved_by_hand_wakes_whoever_waits_for_it():
    clock, woken, passed = ManualClock(), threading.Event(), []

    def wait():
        while not passed or passed[-1] < 60:
            woken.clear()  # before the clock is read, else a step in between is slept through
            passed.append(clock.monotonic_s())
            if passed[-1] < 60:
                clock.wait(woken, 3600)

    waiter = threading.Thread(target=wait)
    waiter.start()
    clock.advance(30)
    clock.set_ns(0)
    clock.advance(30)
    waiter.join(30)
    assert not waiter.is_alive()
    assert len(passed) < 10


def test_the_machines_clock_wakes_when_it_is_told_or_when_the_time_is_over():
    clock, woken = SystemClock(), threading.Event()
    clock.wait(woken, 0.001)
    woken.set()
    clock.wait(woken, 3600)
