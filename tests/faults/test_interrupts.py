"""Ctrl-C and time limits at any bytecode: nothing half done, nothing held, all usable (law 6)."""

from __future__ import annotations

import pytest

WORKLOADS = ["interrupted", "interrupted_everything", "timed_out"]


def run(zygote, workload, path, seed, strikes):
    child = zygote.start(workload, path, seed, strikes)
    code = child.wait()
    lines = child.lines()
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("struck"), lines


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_few_hundred_strikes_leave_nothing_behind(zygote, tmp_path, workload):
    run(zygote, workload, tmp_path / "w", seed=1, strikes=80)


@pytest.mark.oracle
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("workload", WORKLOADS)
def test_thousands_of_strikes_leave_nothing_behind(zygote, tmp_path, workload, seed):
    run(zygote, workload, tmp_path / "w", seed=seed + 10, strikes=1_000)
