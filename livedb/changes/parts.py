"""The parts of a workspace that a change of whole tables works with."""

from __future__ import annotations

from dataclasses import dataclass

from livedb.store.rows import RowStore
from livedb.transactions.committer import Committer
from livedb.transactions.folder import Folder
from livedb.transactions.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One workspace's."""

    turn: Turn
    committer: Committer
    folder: Folder
    rows: RowStore
