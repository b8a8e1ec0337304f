"""kill -9 among scheduled functions: mutations happen exactly once, actions at most once."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

import livedb
from tests.faults.workloads import LIMITS, define_jobs


def run_with_kills(zygote, path, *, jobs, kills, seed):
    """What actions did, in whichever process, once all jobs have ended."""
    rng = random.Random(seed)
    said: list[str] = []
    for life in range(kills + 1):
        child = zygote.start("jobs", path, jobs if life == 0 else 0)
        child.wait_for("READY", timeout_s=120)
        if life == kills:
            child.wait_for("IDLE", timeout_s=600)
        else:
            after = rng.randrange(2 * jobs // kills)
            deadline = time.monotonic() + 60
            while len(lines := child.lines()) < after and "IDLE" not in lines:
                assert time.monotonic() < deadline, lines
                time.sleep(0.001)
            time.sleep(rng.random() * 0.005)
        child.kill()
        said += child.lines()
    return Counter(int(line.split()[1]) for line in said if line.startswith("did "))


def check(path, did, jobs):
    with livedb.open(path, limits=LIMITS) as db:
        define_jobs(db, lambda _: None)
        found = {job["args"][0]["n"]: job for job in db.function("jobs")()}
        assert sorted(found) == list(range(jobs))
        effects = Counter(db.sql("select n from effects").to_arrow()["n"].to_pylist())
    assert effects == dict.fromkeys(range(0, jobs, 2), 1)
    assert not [n for n, times in did.items() if times > 1]
    for n, job in found.items():
        kind = job["state"]["kind"]
        if n % 2 == 0:
            assert kind == "success", job
        elif kind == "failed":
            assert job["state"]["error"] == "Transient error while executing action"
        else:
            assert kind == "success", job
            assert did[n] == 1, job


def test_killed_among_scheduled_functions_each_keeps_its_promise(zygote, tmp_path):
    did = run_with_kills(zygote, tmp_path / "w", jobs=200, kills=8, seed=1)
    check(tmp_path / "w", did, 200)


@pytest.mark.oracle
@pytest.mark.timeout(3600)
def test_two_thousand_scheduled_functions_through_a_hundred_kills(zygote, tmp_path):
    did = run_with_kills(zygote, tmp_path / "w", jobs=2_000, kills=100, seed=2)
    check(tmp_path / "w", did, 2_000)
