"""The second door, for who builds on livedb's parts: what `livedb` itself does not offer.

    workspace = lowlevel.open_workspace(path, limits=None, clock=ManualClock())
    db = lowlevel.database_of(workspace)

The contracts of the two seams (the commit log, the store of documents), what a run has read and a
commit has written, and the sources of live queries. These names stay; what they hold may change
with a minor version, and the changelog says so.
"""

from __future__ import annotations

from livedb.clock import Clock, ManualClock, SystemClock
from livedb.commitlog.contract import Commit, CommitLog, Head
from livedb.keys.encoding import encode_key
from livedb.keys.interval import Interval, IntervalSet
from livedb.live.live_queries import LiveQueries
from livedb.live.live_query import Computed, LiveQuery, LiveSource, LiveState
from livedb.live.steps import Change
from livedb.sharing.opening import database_of
from livedb.store.contract import Block, DocumentStore, Entry, StoredDocument, Write
from livedb.transactions.commit_request import CommitRequest
from livedb.transactions.reads import ReadSet, WriteSet
from livedb.transactions.subscriptions import SubscriptionIndex
from livedb.workspace import Workspace
from livedb.workspaces import open_workspace

__all__ = [
    "Block",
    "Change",
    "Clock",
    "Commit",
    "CommitLog",
    "CommitRequest",
    "Computed",
    "DocumentStore",
    "Entry",
    "Head",
    "Interval",
    "IntervalSet",
    "LiveQueries",
    "LiveQuery",
    "LiveSource",
    "LiveState",
    "ManualClock",
    "ReadSet",
    "StoredDocument",
    "SubscriptionIndex",
    "SystemClock",
    "Workspace",
    "Write",
    "WriteSet",
    "database_of",
    "encode_key",
    "open_workspace",
]
