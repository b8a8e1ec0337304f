"""Timestamps on the wire: a u64 of nanoseconds, as the base64 of its 8 little-endian bytes.

Source: spec sync-protocol.md 1.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from struct import Struct

from livedb.errors import InvalidValueError

TS_MAX = 2**63 - 1
"""The largest timestamp: the Rust client rejects more."""

_u64 = Struct("<Q")


def encode_ts(ts: int) -> str:
    """The wire form of a timestamp; 0 is `AAAAAAAAAAA=`."""
    assert 0 <= ts <= TS_MAX, f"no timestamp: {ts}"
    return b64encode(_u64.pack(ts)).decode()


def decode_ts(text: object) -> int:
    """The timestamp of a wire form.

    Raises:
        InvalidValueError: it is none.
    """
    try:
        data = b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    ts: int = _u64.unpack(data)[0] if len(data) == _u64.size else TS_MAX + 1
    if ts > TS_MAX:
        shown = repr(text)[:40]
        raise InvalidValueError(f"a timestamp is the base64 of 8 bytes, at most 2^63-1: {shown}")
    return ts
