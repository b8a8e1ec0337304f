"""Each benchmark runs, and its table says what was measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import GROUPS
from bench.figure import Figure, Reading, Target, as_markdown, quantity

REPOSITORY = Path(__file__).parents[2]


SLOW = (
    "loading", "memory", "platform", "reads", "service", "storage", "subscriptions", "throughput",
)  # fmt: skip
"""Groups that make much data or start processes of their own: they take minutes together."""


# `pages` drives two browser pages for half a minute; `tests/browser` shows what it measures.
@pytest.mark.parametrize(
    "group",
    [
        pytest.param(name, marks=[pytest.mark.oracle] if name in SLOW else [])
        for name in GROUPS
        if name != "pages"
    ],
)
def test_a_benchmark_runs(group, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--folder", str(tmp_path), group],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| what | livedb | floor |" in done.stdout
    assert not any(tmp_path.iterdir())  # it cleans up after itself


def figure(value: float, **others: object) -> Figure:
    return Figure(group="g", what="w", unit="us", value=value, **others)


def test_a_ratio_target_is_judged_by_the_reading_it_names():
    target = Target(of="ratio", comparison="<=", bound=1.5, text="<= 1.5 x floor")
    floor = Reading(name="floor", value=100)
    assert figure(149, floor=floor, ratio_to="floor", target=target).is_met
    assert not figure(151, floor=floor, ratio_to="floor", target=target).is_met


def test_a_missed_target_says_so():
    target = Target(of="value", comparison="<=", bound=80, text="<= 80 us")
    assert as_markdown([figure(81, target=target)]).endswith("| <= 80 us | **no** |\n")


@pytest.mark.parametrize(
    "value,unit,text",
    [
        (1234, "us", "1.23 ms"),
        (87.4, "us", "87.4 us"),
        (2_500_000, "us", "2.50 s"),
        (17_300, "/s", "17,300 /s"),
        (197.2, "B", "197 B"),
        (456_700_000, "B/s", "457 MB/s"),
    ],
)
def test_a_quantity_is_written_in_the_unit_one_reads_it_in(value, unit, text):
    assert quantity(value, unit) == text


def test_what_is_kept_replaces_its_own_group_and_leaves_the_others(tmp_path, monkeypatch):
    from bench import __main__ as program

    monkeypatch.setattr(program, "HERE", tmp_path / "bench")
    (tmp_path / "bench").mkdir()
    page = "before\n<!-- figures:begin -->\nold\n<!-- figures:end -->\nafter\n"
    for readme in (tmp_path / "README.md", tmp_path / "bench/README.md"):
        readme.write_text(page)

    def measured(group: str, value: float) -> Figure:
        return Figure(group=group, what=group, unit="us", value=value)

    program._keep([measured("commit", 1), measured("reads", 2)])
    program._keep([measured("reads", 3)])

    kept = json.loads((tmp_path / "bench/results.json").read_text())["figures"]
    assert [(entry["group"], entry["value"]) for entry in kept] == [("commit", 1), ("reads", 3)]
    text = (tmp_path / "README.md").read_text()
    assert "**3.00 us**" in text
    assert "**2.00 us**" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
