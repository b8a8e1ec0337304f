"""The running hash over the commits of a log.

Two logs with the same chain at one number hold the same commits up to it, so one comparison of
16 bytes tells whether a log, its head file, its DuckDB tables and another node's copy agree. It
notices accidents (lost tails, flipped bits, files of two workspaces mixed up), not forgers.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from livedb.commitlog.contract import Commit

CHAIN_BYTES = 16
"""Length of a chain value."""

EMPTY_CHAIN = bytes(CHAIN_BYTES)
"""The chain before commit 1."""

# MessagePack has one shortest form for each of our types (int, str, bytes, nil) and msgspec
# writes that one, with every length in front: two different commits never share an encoding.
_encode = msgspec.msgpack.Encoder().encode


def next_chain(chain: bytes, commit: Commit) -> bytes:
    """The chain after `commit`, given the one before it. Cost: 1-2 us plus 1 ns per byte."""
    digest = blake2b(chain, digest_size=CHAIN_BYTES)
    digest.update(_encode(commit))
    return digest.digest()
