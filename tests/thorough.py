"""How many examples a property is tried with: ten times as many in `make oracle` as elsewhere."""

from __future__ import annotations

from hypothesis import settings

QUICK, THOROUGH = 100, 1_000
"""Examples of a property that asks for no number of its own, in `make test` and `make oracle`."""


def register_profiles() -> None:
    # How long an example takes says something of the machine, not of livedb.
    settings.register_profile("livedb", deadline=None, max_examples=QUICK)
    settings.register_profile("thorough", deadline=None, max_examples=THOROUGH)
    settings.load_profile("livedb")  # unless `--hypothesis-profile` names the other one


def examples(count: int) -> int:
    """As many examples for a property that is dear: `count` in `make test`."""
    return count * settings().max_examples // QUICK
