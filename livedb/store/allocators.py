"""What allocators keep for later goes back to the system.

A load passes a table through DuckDB's, Arrow's and numpy's memory, several times its size in
memory; all of it is free when it ends, and Arrow's pool and glibc's heaps would keep most of it:
more than the table itself takes. DuckDB returns its own when its threads are idle.

One part stays: glibc never trims the end of the heaps of other threads than the main one below a
bound that grows to 64 MiB. That is once for a process and not for every load.
"""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa


def return_unused_memory() -> None:
    """Give back what is free. Cost: 10 to 50 ms after a large load; the GIL is let go meanwhile."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        # Not in every C library; musl gives back what is free by itself.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
