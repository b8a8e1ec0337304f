"""kill -9 among crons: one run at a time, each slot at most once, nothing is made up for."""

from __future__ import annotations

import json
import random
import time
from itertools import pairwise, repeat, zip_longest
from typing import NamedTuple

import pytest

from tests.faults.workloads import CRON_PERIODS_S

RUNS_AFTER = 3
"""Of each cron in the life after the last kill."""


def run_with_kills(zygote, path, *, kills, seed):
    """The lines of each life, and what the last one read in the books."""
    rng = random.Random(seed)
    from_ns = time.time_ns()
    lives = []
    for life in range(kills + 1):
        until = RUNS_AFTER if life == kills else 0
        child = zygote.start("crons", path, from_ns, life, until)
        wait_for(child, "MADE", 1)  # on a busy machine one runs before another one is made
        wanted = "BOOKS" if until else ("ran", "began")
        wait_for(child, wanted, 1 if until else 1 + rng.randrange(40))
        time.sleep(rng.random() * 0.01)
        child.kill()
        lives.append(child.lines())
    (books,) = [line for line in lives[-1] if line.startswith("BOOKS ")]
    return lives, json.loads(books.removeprefix("BOOKS "))


def wait_for(child, wanted, count):
    deadline = time.monotonic() + 60
    while sum(map(str.startswith, lines := child.lines(), repeat(wanted))) < count:
        assert time.monotonic() < deadline, lines
        time.sleep(0.001)


def check(lives, books):
    assert not [line for lines in lives for line in lines if line.startswith(("ERROR", "Trace"))]
    opened_ms = [
        float(line.split()[1]) for lines in lives for line in lines if line.startswith("OPENED")
    ]
    for name, period_s in CRON_PERIODS_S.items():
        if name.startswith("m"):
            own = [row for row in books["effects"] if row["cron"] == name]
            runs = [Run(row["life"], row["slot"], row["ended"]) for row in own]
        else:
            runs = [run for life, lines in enumerate(lives) for run in acts(lines, name, life)]
        check_runs(runs, opened_ms, period_s * 1000)
        logs = [log for log in books["logs"] if log["cron"] == name]
        check_logs(logs, {run.slot_ms for run in runs}, is_mutation=name.startswith("m"))


class Run(NamedTuple):
    life: int
    slot_ms: float
    ended_ms: float | None


def acts(lines, name, life):
    """An action's runs in one life, of which a kill leaves the last one without an end."""
    told = [line.split() for line in lines if line.startswith((f"began {name} ", f"ended {name} "))]
    verbs = [verb for verb, *_ in told]
    assert all(verb == ("ended" if place % 2 else "began") for place, verb in enumerate(verbs))
    slots = [float(ms) for *_, ms in told[0::2]]
    ends = [float(ms) for *_, ms in told[1::2]]
    return [Run(life, *times) for times in zip_longest(slots, ends)]


def check_runs(runs, opened_ms, period_ms):
    """`runs` come in their order."""
    for earlier, later in pairwise(runs):
        assert later.slot_ms - earlier.slot_ms > period_ms / 2, "a slot ran twice"
        if earlier.ended_ms is not None:
            assert later.slot_ms >= earlier.ended_ms, "what a run overlapped was made up for"
    for run in runs:
        off_ms = (run.slot_ms - runs[0].slot_ms + period_ms / 2) % period_ms - period_ms / 2
        assert abs(off_ms) < 1, "off its rhythm"
        assert run.slot_ms >= opened_ms[run.life], "what was missed before was made up for"
    assert sum(run.life == len(opened_ms) - 1 for run in runs) >= RUNS_AFTER


def check_logs(logs, slots, *, is_mutation):
    """What is remembered of the last runs is what they did."""
    times = [log["scheduledTime"] for log in logs]
    assert times == sorted(times)
    entered = {log["scheduledTime"] for log in logs if log["status"]["kind"] == "success"}
    assert entered <= slots
    if is_mutation:
        assert {log["status"]["kind"] for log in logs} <= {"success", "canceled"}
        assert {slot for slot in slots if slot > times[0]} <= entered
    errors = {log["status"]["error"] for log in logs if log["status"]["kind"] == "failed"}
    assert errors <= {"Transient error while executing action"}


def test_killed_among_crons_none_runs_twice_at_once_or_makes_up_for_what_it_missed(
    zygote, tmp_path
):
    check(*run_with_kills(zygote, tmp_path / "w", kills=8, seed=1))


@pytest.mark.oracle
@pytest.mark.timeout(3600)
def test_crons_through_a_hundred_kills(zygote, tmp_path):
    check(*run_with_kills(zygote, tmp_path / "w", kills=100, seed=2))
