"""Wrong tokens are counted by address, and an address that sends many is held off for a while.

Nobody guesses a token of 256 bits; this keeps whoever tries from taking the time of the others, and
the logs readable. It holds off the address, not the token: an honest caller elsewhere is not
touched.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from livedb.clock import Clock
from livedb.limits import AUTH_ADDRESSES_MAX, AUTH_FAILURES_FORGIVEN_PER_S, AUTH_FAILURES_MAX


class Throttle:
    """A leaky bucket of failures for each address; safe to use from every thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        """Guards `_failures`; held for moments."""
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Address -> failures not forgiven at a monotonic time; the longest quiet first."""

    def wait_s(self, address: str) -> float:
        """Seconds to hold `address` off before its token is even looked at; 0.0 for not at all."""
        with self._lock:
            excess = self._count(address) - AUTH_FAILURES_MAX
        return max(0.0, (excess + 1) / AUTH_FAILURES_FORGIVEN_PER_S) if excess >= 0 else 0.0

    def add_failure(self, address: str) -> None:
        """Count a wrong token from `address`."""
        with self._lock:
            self._failures[address] = (self._count(address) + 1, self._clock.monotonic_s())
            self._failures.move_to_end(address)
            if len(self._failures) > AUTH_ADDRESSES_MAX:
                self._failures.popitem(last=False)

    def _count(self, address: str) -> float:
        count, then_s = self._failures.get(address, (0.0, 0.0))
        forgiven = (self._clock.monotonic_s() - then_s) * AUTH_FAILURES_FORGIVEN_PER_S
        return max(0.0, count - forgiven)
