"""SIGKILL in the middle of random programs: what was acknowledged is there, the rest wholly or not.

Reopening goes on with the recovered model, so that what follows a recovery is checked as well.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

import livedb
from livedb.text import decode_value
from tests.oracle.kill_child import decode_model, decode_tables, encode_model
from tests.oracle.model import Model, exact
from tests.oracle.world import World, read_tables

ROOT = Path(__file__).parents[2]


def run_until_killed(folder: Path, seed: int, round_: int, model: Model) -> tuple[Model, bytes]:
    """The last acknowledged model, and the line of what came after it, if any."""
    rng = Random(f"{seed}:{round_}")
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.oracle.kill_child",
            str(folder),
            str(seed),
            str(round_ << 20),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(encode_model(model) + b"\n")
    child.stdin.flush()
    lines: list[bytes] = []
    wanted = rng.randrange(1, 25)
    for line in child.stdout:
        lines.append(line)
        if len(lines) == wanted:
            # From here on at any moment: within the commit, the checks, or the steps after.
            threading.Timer(rng.random() * 0.05, child.send_signal, (signal.SIGKILL,)).start()
    child.stdout.close()
    child.stdin.close()
    assert child.wait() == -signal.SIGKILL, "the child failed by itself; its error is above"
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    acknowledged = [at for at, line in enumerate(lines) if line.startswith(b"acknowledged ")]
    if acknowledged:
        model = decode_model(lines[acknowledged[-1]].partition(b" ")[2])
        lines = lines[acknowledged[-1] + 1 :]
    return model, lines[-1] if lines else b""


def recover(folder: Path, model: Model, intended: bytes) -> Model:
    """The model of what is there after the kill."""
    with livedb.open(folder) as db:
        if db.number > model.number:
            assert intended or db.number - model.number <= 2, "a load or a schema at most"
            found = read_tables(db, model)
            if intended:
                said = decode_tables(decode_value(intended.partition(b" ")[2]))
                documents = {name: _plain(table) for name, table in said.items()}
                is_said = {n: _plain(table) for n, table in found.items()} == documents
                # A load says only that it comes, because its ids are made on the way.
                assert is_said or _grows(model, found), "neither all of it nor none of it"
            while model.number < db.number - 1:
                model.commit({**model.tables}, is_forced=True)
            model.commit(found, is_forced=True)
    return model


def _plain(table: object) -> object:
    return {key: exact(list(stored)) for key, stored in table.documents.items()}  # type: ignore[attr-defined]


def _grows(model: Model, found: dict) -> bool:
    """Whether every document that was there is there unchanged."""
    return all(
        name in found and _plain(table).items() <= _plain(found[name]).items()  # type: ignore[attr-defined]
        for name, table in model.tables.items()
    )


def kill_and_go_on(folder: Path, seed: int, rounds: int) -> int:
    model = Model()
    for round_ in range(rounds):
        model, intended = run_until_killed(folder, seed, round_, model)
        model = recover(folder, model, intended)
        world = World(seed, folder, with_sql=True, model=model)
        try:
            rng = Random(f"{seed}:{round_}:after")
            world.check(rng)
            world.check_tables(rng)
            for at in range(10):
                world.step((round_ << 20) + (1 << 19) + at)
        except AssertionError as error:
            error.add_note(f"oracle: seed {seed}, round {round_}, after a kill")
            raise
        finally:
            world.close()
        model = world.model
    return model.number


def test_random_programs_survive_kills(tmp_path: Path) -> None:
    assert kill_and_go_on(tmp_path / "w.livedb", seed=7, rounds=3) > 0


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(500, 520))
def test_long_programs_survive_kills(seed: int, tmp_path: Path) -> None:
    assert kill_and_go_on(tmp_path / "w.livedb", seed, rounds=15) > 0
