"""Mutation ids: by its id a call that is sent again is known, and is told what it did before.

The log keeps the id, a hash of the call and its result with the commit; what is so new that the log
may not have it yet, the committer knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from livedb.errors import InvalidValueError
from livedb.functions.call import Call
from livedb.text import decode_value, encode_value
from livedb.transactions.committer import Committer
from livedb.values import Value


class MutationIds:
    """Finds what was committed under an id.

    Args:
        find_commit: the logged commit of a mutation id, or None.
    """

    def __init__(self, committer: Committer, find_commit: Callable[[str], Any]) -> None:
        self._committer = committer
        self._find_commit = find_commit

    def find(self, call: Call, args_hash: bytes) -> tuple[int, tuple[Value] | None]:
        """Up to which commit was searched, and the result of this id's commit there.

        The call is told the commit's timestamp and log lines.

        Raises:
            InvalidValueError: the id is that of another call.
            ConflictError: its commit was undone, because the log failed.
        """
        mutation_id = call.mutation_id
        assert mutation_id is not None, "only an identified call can be remembered"
        committer = self._committer
        if call.is_new is not None:
            # Before it is asked: what comes after this number, the committer knows by its id.
            number = committer.published
            if call.is_new():
                return number, None
        epoch = committer.epoch
        on_its_way = committer.identified(mutation_id)
        if on_its_way is not None:
            committer.settle(on_its_way, epoch)
        # Before the look: what is committed after this number, the committer knows by its id.
        number = committer.published
        commit = self._find_commit(mutation_id)
        if commit is None:
            return number, None
        committer.settle(commit.number, epoch)  # it is in the log, and perhaps not yet to be seen
        if commit.args_hash != args_hash:
            raise InvalidValueError(
                f"Mutation id {mutation_id!r} was used before with another function or other "
                "arguments. Use a new id for a new call.",
                code="MutationIdReused",
            )
        call.ts = commit.ts
        call.log_lines = [] if commit.log_lines is None else decode_value(commit.log_lines)
        return number, (decode_value(commit.result) if commit.result is not None else None,)


def hash_arguments(name: str, args: Mapping[str, Value]) -> bytes:
    """What tells one call from another: the function and its arguments, in any order."""
    ordered = encode_value([[key, args[key]] for key in sorted(args)])
    return hashlib.blake2b(name.encode() + b"\x00" + ordered, digest_size=16).digest()
