from __future__ import annotations

import pytest

from livedb.auth.throttle import Throttle
from livedb.limits import AUTH_ADDRESSES_MAX, AUTH_FAILURES_MAX


@pytest.fixture
def throttle(clock):
    return Throttle(clock)


def fail(throttle, address, times):
    for _ in range(times):
        throttle.add_failure(address)


def test_a_few_wrong_tokens_hold_nobody_off(throttle):
    fail(throttle, "10.0.0.1", AUTH_FAILURES_MAX - 1)
    assert throttle.wait_s("10.0.0.1") == 0.0


def test_many_wrong_tokens_hold_their_address_off_and_no_other(throttle):
    fail(throttle, "10.0.0.1", AUTH_FAILURES_MAX)
    assert throttle.wait_s("10.0.0.1") > 0.0
    assert throttle.wait_s("10.0.0.2") == 0.0


def test_an_address_held_off_is_let_in_after_the_time_it_was_told(throttle, clock):
    fail(throttle, "10.0.0.1", 100)
    clock.advance(throttle.wait_s("10.0.0.1"))
    assert throttle.wait_s("10.0.0.1") == 0.0
    throttle.add_failure("10.0.0.1")
    assert throttle.wait_s("10.0.0.1") > 0.0


def test_the_addresses_counted_are_bounded(throttle):
    fail(throttle, "10.0.0.1", AUTH_FAILURES_MAX)
    for number in range(AUTH_ADDRESSES_MAX):
        throttle.add_failure(f"10.1.{number}")
    assert throttle.wait_s("10.0.0.1") == 0.0
    assert len(throttle._failures) == AUTH_ADDRESSES_MAX
