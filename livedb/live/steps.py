"""What happens to live results, as followers are told of it: one sequence of steps.

What the steps mean for each other: `live.live_queries`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from livedb.live.live_query import LiveQuery, LiveState, Round


class Standing(NamedTuple):
    """A moment at which every live result is current, but for those that lag.

    Attributes:
        number: the newest published commit.
        steps: made until then; see `LiveQueries.steps_made`.
    """

    number: int
    steps: int


class Change(NamedTuple):
    """One live query's part of a transition."""

    query: LiveQuery
    old: LiveState | None
    new: LiveState


States = dict[LiveQuery, LiveState]


class Outcome(NamedTuple):
    """What came of a round: states at its number.

    Attributes:
        settled: of those that stand there still, and lag no more.
        again: of those that were touched meanwhile.
    """

    settled: States
    again: States


class Step(NamedTuple):
    """What followers are told: a transition, or the beginning or end of a round.

    Attributes:
        number: the commit of the transition or round.
        changes: of a transition, to be shown.
        lagging: those that a transition leaves to a round: their states are of earlier commits.
        begun: the round that begins here, behind all that was told before.
        ended: the round that ends here, given up if `outcome` is empty.
        outcome: of the round; of a transition, those that it ran although they lagged.
    """

    number: int
    changes: Sequence[Change] = ()
    lagging: Sequence[LiveQuery] = ()
    begun: Round | None = None
    ended: Round | None = None
    outcome: Outcome | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is of changes only, as most are."""
        return not self.lagging and self.outcome is None and self.begun is None


class Capture(NamedTuple):
    """Where live queries stand.

    Attributes:
        number, ts: the commit of the transitions, and its timestamp.
        steps: that are in `states`.
        states: of those that do not lag, at that commit.
        lagging: the others.
        round, outcome: that ran them, at that commit as well; None when some of them are in the
            round of somebody else.
    """

    number: int
    ts: int
    steps: int
    states: States
    lagging: frozenset[LiveQuery]
    round: Round | None = None
    outcome: Outcome | None = None


Listener = Callable[[Step], None]
"""Told of each step, on the refresher's thread; must not raise."""
