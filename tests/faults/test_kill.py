"""kill -9 at any moment: nothing acknowledged is lost, nothing is torn (law 1)."""

from __future__ import annotations

import logging
import random
import time

import pytest

import livedb
from tests.faults.checks import check_agreement, check_storm
from tests.faults.workloads import LIMITS, STEPS

logger = logging.getLogger(__name__)


def kill_cycles(zygote, path, *, cycles, seed):
    """What was acknowledged; two of three kills come at a random moment, the third at a step.

    A kill at a random moment waits for a random number of answers first, so that it hits work and
    not the start.
    """
    rng = random.Random(seed)
    acknowledged: list[str] = []
    for cycle in range(cycles):
        step = rng.choice(STEPS) if cycle % 3 == 2 else None
        child = zygote.start("storm", path, rng.randrange(2**31), step)
        child.wait_for("READY")
        if step is None:
            child.wait_for_lines(1 + rng.randrange(32))
            time.sleep(rng.random() * 0.02)
            child.kill()
        else:
            assert child.wait() == -9, child.lines()
        acknowledged += [line for line in child.lines() if line != "READY"]
        with livedb.open(path, limits=LIMITS) as db:
            check_storm(db, acknowledged)
            if cycle % 10 == 0:
                check_agreement(db)
    return acknowledged


def test_killed_under_load_nothing_is_lost_or_torn(zygote, tmp_path):
    acknowledged = kill_cycles(zygote, tmp_path / "w", cycles=15, seed=1)
    kinds = {line.split()[0] for line in acknowledged}
    assert kinds == {"step", "load", "shape"}, "the storm must reach loads and schema changes"


@pytest.mark.oracle
@pytest.mark.timeout(3600)
def test_killed_three_hundred_times_over_five_thousand_answers(zygote, tmp_path):
    acknowledged = kill_cycles(zygote, tmp_path / "w", cycles=300, seed=2)
    logger.info("%d acknowledged, none lost", len(acknowledged))
    assert len(acknowledged) >= 5_000
