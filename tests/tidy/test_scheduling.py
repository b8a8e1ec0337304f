"""How the suite is spread over processes."""

from __future__ import annotations

from pathlib import Path

from tests.scheduling import LONG, TOGETHER, rank, share_of

REPOSITORY = Path(__file__).parents[2]


def test_every_folder_that_has_its_turn_early_exists():
    assert [each for each in (*LONG, *TOGETHER) if not (REPOSITORY / each).is_dir()] == []


def test_what_lasts_has_its_turn_first():
    paths = [
        "tests/keys/test_encoding.py",
        "tests/bench/test_bench.py",
        "tests/browser/x/test_x.py",
    ]
    assert sorted(paths, key=rank) == paths[::-1]


def test_a_process_takes_a_file_or_all_that_share_a_browser():
    assert share_of("tests/keys/test_encoding.py::test_a[x]") == "tests/keys/test_encoding.py"
    for folder in TOGETHER:
        assert {share_of(f"{folder}test_{each}.py::test_a") for each in "ab"} == {folder}
