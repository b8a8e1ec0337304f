"""Is a concurrent history serializable in commit order? A small checker of append-only registers.

Every mutation appends its own token to the registers it writes, so the log tells at which commit
number it happened, and every state there ever was is known. Then:

    a mutation at number n read exactly the state at n - 1
    whoever reads sees one whole state, at the number it was told if it was told one
    nobody's numbers go back, nor below what the same thread has committed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from livedb.commitlog.payload import DocumentsPart, decode_payload
from livedb.text import decode_fields

Vector = tuple[tuple[int, ...], ...]
"""The tokens of every register, at one moment."""


@dataclass(frozen=True, slots=True)
class Appended:
    """One mutation that was acknowledged: what it read, and the token it left."""

    token: int
    reads: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One read of all registers; `number` is None when the reader was not told it.

    `after` is a token that its thread had been told is committed.
    """

    vector: Vector
    number: int | None
    after: int | None = None


@dataclass(slots=True)
class History:
    """What happened: per observer, in its own order."""

    appended: list[Appended] = field(default_factory=list)
    seen: dict[str, list[Seen]] = field(default_factory=dict)

    def observer(self, name: str) -> list[Seen]:
        return self.seen.setdefault(name, [])


class States:
    """The registers at every commit number, as the commit log tells it."""

    def __init__(self, log: Any, ids: Sequence[str]) -> None:
        place = {document_id: at for at, document_id in enumerate(ids)}
        vector: list[tuple[int, ...]] = [()] * len(ids)
        self.by_number: dict[int, Vector] = {0: tuple(vector)}
        self.number_of: dict[int, int] = {}
        for commit in log.read(after=0):
            for write in _writes_of(commit.payload):
                if write.id in place and write.text is not None:
                    items = tuple(decode_fields(write.text)["items"])
                    for token in items:
                        self.number_of.setdefault(token, commit.number)
                    vector[place[write.id]] = items
            self.by_number[commit.number] = tuple(vector)
        self.last = max(self.by_number)


def _writes_of(payload: bytes) -> Iterable[Any]:
    for part in decode_payload(payload):
        if isinstance(part, DocumentsPart):
            yield from part.writes


def anomalies(history: History, states: States) -> list[str]:
    """Every way in which the history is not serializable in commit order; empty when it is."""
    found: list[str] = []
    for each in history.appended:
        number = states.number_of.get(each.token)
        if number is None:
            found.append(f"mutation {each.token} was acknowledged and is not in the log")
            continue
        before = states.by_number[number - 1]
        for register, items in each.reads.items():
            if items != before[register]:
                found.append(
                    f"mutation {each.token} at commit {number} read register {register} as "
                    f"{items[-3:]}, and it was {before[register][-3:]}"
                )
    for name, sequence in history.seen.items():
        found += _observed(name, sequence, states)
    return found


def _observed(name: str, sequence: Sequence[Seen], states: States) -> list[str]:
    found: list[str] = []
    position = 0
    for seen in sequence:
        if seen.after is not None:
            position = max(position, states.number_of.get(seen.after, 0))
        if seen.number is not None and seen.number < position:
            found.append(f"{name} went back from {position} to {seen.number}")
        number = seen.number
        candidates = range(position, states.last + 1) if number is None else (number,)
        # The earliest state that fits leaves most room for what this observer sees later.
        at = next((n for n in candidates if states.by_number.get(n) == seen.vector), None)
        if at is None:
            shown = [items[-2:] for items in seen.vector]
            found.append(f"{name} saw {shown}, no state at {seen.number} or after {position}")
        else:
            position = at
    return found
