"""Random programs on a workspace and on a plain-Python model: equal after every step.

`LIVEDB_ORACLE_SEED` runs one seed of the long form.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from livedb.values import Int64
from tests.oracle.generate import BASE, STRICT
from tests.oracle.world import Tally, World, read_tables

STEPS = 35

DOCUMENT = {
    "k": "a", "num": 1.5, "count": 1, "flag": True, "when": None, "big": Int64(1), "raw": b"",
    "nest": {"x": 1.0},
}  # fmt: skip
"""One that fits `strict`."""


def run_world(seed: int, path: Path | None, *, steps: int, with_sql: bool) -> Tally:
    world = World(seed, path, with_sql=with_sql)
    kind = "open"
    try:
        for at in range(steps):
            kind = world.step(at)
    except BaseException as error:
        where = f"seed {seed}, step {world.tally.steps} (after {kind}), sql {with_sql}, path {path}"
        error.add_note(f"oracle: {where}")
        raise
    finally:
        world.close()
    return world.tally


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("with_sql", [False, True], ids=["batches", "sql"])
def test_everything_read_equals_the_model_in_memory(seed: int, with_sql: bool) -> None:  # noqa: FBT001
    assert run_world(seed, None, steps=STEPS, with_sql=with_sql).steps == STEPS


@pytest.mark.parametrize("seed", range(100, 102))
@pytest.mark.parametrize("with_sql", [False, True], ids=["batches", "sql"])
def test_everything_read_equals_the_model_on_disk(
    seed: int,
    with_sql: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    assert run_world(seed, tmp_path / "w.livedb", steps=STEPS, with_sql=with_sql).steps == STEPS


def test_a_followed_table_that_is_dropped_keeps_what_it_showed_with_its_types() -> None:
    world = World(0, None, with_sql=True)
    with closing(world):
        world.define(STRICT, BASE, ())
        world.db[STRICT].insert(DOCUMENT)
        world.model.commit(read_tables(world.db, world.model))
        world.follow_whole_table(STRICT)
        world.check(Random(0))
        world.drop(STRICT)
        world.check(Random(0))


def _long_seeds() -> range:
    chosen = os.environ.get("LIVEDB_ORACLE_SEED")
    return range(1000, 1120) if chosen is None else range(int(chosen), int(chosen) + 1)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", _long_seeds())
def test_long_programs_equal_the_model(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "w.livedb" if seed % 2 else None
    run_world(seed, path, steps=300, with_sql=seed % 4 < 2)
