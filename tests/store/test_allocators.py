"""Memory that is free goes back to the system."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from livedb.store.allocators import return_unused_memory


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heaps are what keeps free memory")
def test_what_lies_free_below_something_in_use_is_given_back():
    blocks = [np.ones(12_000) for _ in range(1_000)]  # each too small for a mapping of its own
    top = blocks.pop()
    del blocks
    before = resident_bytes()
    return_unused_memory()
    assert resident_bytes() < before - (60 << 20)
    assert top.sum() == 12_000
