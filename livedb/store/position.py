"""How far changes were read: what a consumer goes on from."""

from __future__ import annotations

from typing import Final, NamedTuple

NO_TABLE: Final = 0
"""The table number in a position behind a whole commit."""


class Position(NamedTuple):
    """All changes up to this document of this commit, in the order of commits, tables and ids."""

    number: int
    table: int = NO_TABLE
    id: str = ""
