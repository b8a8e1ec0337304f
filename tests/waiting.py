"""Waiting for what another thread or process brings about."""

from __future__ import annotations

import time


def until(condition, seconds=60.0):
    """What `condition` gives, once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)
    return found
