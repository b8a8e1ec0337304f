"""Is what is live also right? Every live result is held against a fresh run at its commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livedb.workspace import Workspace


def wrong_results(workspace: Workspace) -> list[str]:
    """The live results that differ from a fresh run, a line each; empty when all is right.

    They are first brought to the newest commit, and nothing moves while they are compared. Queries
    that look at the time or at random numbers, and those that lag, are left out. Cost: a run of
    every live query.
    """
    live = workspace.live
    with live.held(pauses_folds=True) as number:
        return [
            f"{query.source.title} shows at commit {number} what a fresh run does not give"
            for query in live.followed()
            if not query.is_volatile
            and query not in live.lagging
            and not query.agrees_with(query.source.compute(number))
        ]
