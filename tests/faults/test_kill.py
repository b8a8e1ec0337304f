"""kill -9 at any moment: nothing acknowledged is lost, nothing is torn (law 1)."""

from __future__ import annotations

import random
import time

import pytest

import livedb
from tests.faults.checks import check_agreement, check_storm
from tests.faults.workloads import LIMITS


def kill_cycles(zygote, path, *, cycles, acks_min, seed):
    rng = random.Random(seed)
    acknowledged: list[str] = []
    cycle = 0
    while cycle < cycles or len(acknowledged) < acks_min:
        child = zygote.start("storm", path, rng.randrange(2**31))
        child.wait_for("READY")
        time.sleep(rng.choice((0.0, 0.01, 0.05, 0.2)) * (0.5 + rng.random()))
        child.kill()
        acknowledged += [line for line in child.lines() if line != "READY"]
        with livedb.open(path, limits=LIMITS) as db:
            check_storm(db, acknowledged)
            if cycle % 10 == 0:
                check_agreement(db)
        cycle += 1
    return acknowledged


def test_killed_under_load_nothing_is_lost_or_torn(zygote, tmp_path):
    acknowledged = kill_cycles(zygote, tmp_path / "w", cycles=30, acks_min=300, seed=1)
    kinds = {line.split()[0] for line in acknowledged}
    assert kinds == {"step", "load", "shape"}, "the storm must reach loads and schema changes"


@pytest.mark.oracle
@pytest.mark.timeout(1800)
def test_killed_three_hundred_times(zygote, tmp_path):
    acknowledged = kill_cycles(zygote, tmp_path / "w", cycles=300, acks_min=5_000, seed=2)
    assert len(acknowledged) >= 5_000
