"""A bit that flipped in the closed DuckDB file: the right rows, or DamagedError with what to do."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import livedb
from livedb import DamagedError

ROWS = 60_000
HEADER_BYTES = 3 * 4096
READS: dict[str, Callable[[livedb.Database], object]] = {
    "SQL": lambda db: db.sql("select sum(n), sum(length(s)) from t").to_arrow().to_pylist(),
    "a function": lambda db: [each["n"] for each in db["t"].take(3)],
    "a table": lambda db: db["t"].live().to_arrow().num_rows,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "w"
    with livedb.open(folder) as db:
        rows = [{"n": n, "s": f"text {n * 7919 % 100003}"} for n in range(ROWS)]
        db.load("t", rows, progress=False)
    return folder


def test_no_read_gives_wrong_rows_after_a_bit_flip(written: Path) -> None:
    file = written / "tables.duckdb"
    good = file.read_bytes()
    with livedb.open(written) as db:
        right = {name: read(db) for name, read in READS.items()}
    assert file.read_bytes() == good
    flips = random.Random(7)
    refusals: list[str] = []
    for _ in range(12):
        damaged = bytearray(good)
        damaged[flips.randrange(HEADER_BYTES, len(good))] ^= 1 << flips.randrange(8)
        file.write_bytes(damaged)
        try:
            db = livedb.open(written)
        except DamagedError as error:
            refusals.append(str(error))
            continue
        with db:
            for name, read in READS.items():
                try:
                    assert read(db) == right[name]
                except DamagedError as error:
                    refusals.append(str(error))
    file.write_bytes(good)
    assert len(refusals) > 3, "too few flips hit anything that was read"
    assert all("livedb.repair" in each for each in refusals)
