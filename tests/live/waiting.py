"""Waiting for what another thread brings about."""

from __future__ import annotations

import time


def until(condition, seconds=30.0):
    """Wait for what another thread brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)
