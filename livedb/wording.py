"""How messages put numbers and lists into words."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, thing: str) -> str:
    """`1 row`, `1,234 rows`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def listed(names: Sequence[str], joint: str = "and") -> str:
    """`owner`, `owner and editor`, `owner, editor and member`."""
    *before, last = names
    return f"{', '.join(before)} {joint} {last}" if before else last


def size_text(size_bytes: int) -> str:
    """A number of bytes, to be read: in the largest unit of which there is one."""
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size_bytes >> bits:
            return f"{size_bytes / (1 << bits):.1f} {unit}"
    return counted(size_bytes, "byte")
