"""The settings of a workspace: small JSON values by name, as commits like any other.

A change is a commit that carries the new value whole, so that replay, other nodes and a look at the
past learn of it in order; the tables keep the newest ones, so that truncating the log loses none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from livedb.changes.parts import Parts
from livedb.commitlog.payload import settings_part
from livedb.transactions.commit_request import CommitDetails, CommitRequest
from livedb.transactions.reads import ReadSet, WriteSet


class WorkspaceSettings:
    """The settings of one workspace; safe to use from every thread.

    Args:
        known: as of the last commit.
        keep: told the number and the changes of each commit, when it is durable.
    """

    def __init__(
        self,
        parts: Parts,
        known: Mapping[str, Any],
        keep: Callable[[int, Mapping[str, Any]], None],
    ) -> None:
        self._parts = parts
        self._values = dict(known)
        self._keep = keep
        self._lock = Lock()
        """One change at a time; taken before all locks of a commit."""

    def get(self, name: str) -> Any:
        """The value of a setting; None when it was never set."""
        return self._values.get(name)

    def change(
        self, name: str, value_of: Callable[[Any], Any], *, author: str | None = None
    ) -> int:
        """Commit `value_of(value)` as the new value of a setting; returns the commit number.

        Raises: what `value_of` raises; as a mutation does.
        """
        with self._lock:
            changed = {name: value_of(self._values.get(name))}
            key = _key(name)
            begin, epoch, _ = self._parts.committer.begin()
            reads = ReadSet()
            reads.names.add(key)

            def publish(number: int) -> None:
                self._keep(number, changed)
                self._values.update(changed)

            return self._parts.committer.commit(
                CommitRequest(
                    begin=begin,
                    epoch=epoch,
                    reads=reads,
                    change=WriteSet((), frozenset({key}), frozenset()),
                    catalog=None,
                    details=CommitDetails(author=author),
                    extra_parts=(settings_part(changed),),
                    on_publish=publish,
                )
            )


def _key(name: str) -> str:
    """The name of a setting among those of tables, which hold no space."""
    return f"setting {name}"
