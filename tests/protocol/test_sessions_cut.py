"""A session whose connections are cut anywhere: every mutation once, every query converges."""

from __future__ import annotations

from random import Random

import pytest

from tests.protocol.worlds import SessionWorld


def run_sessions(seeds: range, steps: int) -> tuple[int, int]:
    """How many mutations were made and how many cuts."""
    mutations = cuts = 0
    for seed in seeds:
        world = SessionWorld(Random(seed))
        try:
            world.run(steps)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        mutations += len(world.wanted)
        cuts += world.cuts
    return mutations, cuts


def test_every_mutation_happens_once_and_every_query_converges():
    mutations, cuts = run_sessions(range(60), 400)
    assert mutations > 1_000
    assert cuts > 300


@pytest.mark.oracle
def test_every_mutation_happens_once_over_very_many_cuts():
    run_sessions(range(1_000, 3_000), 1_000)
