"""Clients of a service whose connections are cut and which is killed: their history is serial."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

import livedb
from livedb.auth.access import Role
from livedb.client import connection
from livedb.live.live_queries import LiveQueries
from livedb.protocol.effects import Run
from livedb.protocol.server import ServerConnection
from livedb.transactions.write_log import WriteLog
from tests.faults.cutting import CuttingProxy
from tests.faults.serve_child import ServiceProcess
from tests.faults.served import serving
from tests.oracle import registers
from tests.oracle.registers import Clients
from tests.oracle.serial import States, anomalies

RESTART_S_MAX = 120.0
"""Seconds that a call waits for a service that was killed and is started again."""


def judge(db: livedb.Database, clients: Clients) -> list[str]:
    """The anomalies of what the clients saw, by the log of the workspace."""
    ids = [each["_id"] for each in sorted(db["registers"].collect(), key=lambda row: row["name"])]
    states = States(db.backend.workspace.log, ids)
    found = anomalies(clients.history, states)
    for items in states.by_number[states.last]:
        found += [f"{token} was appended twice" for token in set(items) if items.count(token) > 1]
    return found + [f"a client failed: {each!r}" for each in clients.failures]


def killed(folder: Path, seed: int, *, clients: int, appends: int, kills: int) -> list[str]:
    """Clients at once, through a proxy that cuts, of a service that is killed."""
    random = Random(seed)
    with (
        pytest.MonkeyPatch.context() as patch,
        ServiceProcess(folder, module="tests.oracle.registers") as service,
        CuttingProxy(service.port, cuts=appends, seed=seed) as proxy,
    ):
        # A busy machine takes longer to start it than a user would wait.
        patch.setattr(connection, "CONNECT_S_MAX", RESTART_S_MAX)
        made = Clients(f"http://127.0.0.1:{proxy.port}", seed, clients=clients, appends=appends)
        made.start()
        for kill in range(1, kills + 1):
            wanted = kill * clients * appends // (kills + 1)
            while made.is_busy and made.appended < wanted:
                time.sleep(0.01)
            time.sleep(random.random() * 0.02)
            service.kill()
        made.join()
    assert made.appended + made.overtaken == clients * appends or made.failures
    with livedb.open(folder) as db:
        return judge(db, made)


def test_clients_of_a_killed_service_have_a_serial_history(tmp_path):
    assert killed(tmp_path / "w", 1, clients=8, appends=20, kills=1) == []


@pytest.mark.oracle
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10, 16))
def test_many_clients_of_a_service_killed_often_have_a_serial_history(seed, tmp_path):
    assert killed(tmp_path / "w", seed, clients=8, appends=120, kills=6) == []


# -- the checker itself: three planted bugs --------------------------------------------------------


@contextmanager
def storm(seed: int, *, slow_s: float = 0.0, appends: int = 25) -> Iterator[list[str]]:
    """Anomalies of clients of a service in this process, where a test may plant a bug."""
    found: list[str] = []
    with livedb.open() as db:
        registers.define(db, slow_s=slow_s)
        with (
            serving(db, role=Role.OWNER) as service,
            CuttingProxy(service.port, cuts=60, seed=seed) as proxy,
        ):
            made = Clients(f"http://127.0.0.1:{proxy.port}", seed, clients=8, appends=appends)
            made.start()
            made.join()
        found += judge(db, made)
    yield found


def assert_found(seed: int, anomaly: str) -> None:
    """One of a few storms shows the anomaly: what meets what is up to the machine."""
    for number in range(6):
        with storm(seed + 10 * number) as found:
            if any(anomaly in each for each in found):
                return
    raise AssertionError(f"no storm showed {anomaly!r}")


def test_no_bug_no_anomaly():
    with storm(1) as found:
        assert found == []


def test_no_anomaly_where_queries_are_slow_now_and_then():
    with storm(5, slow_s=0.06) as found:
        assert found == []


@pytest.mark.oracle
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(20, 26))
def test_no_anomaly_where_queries_are_slow_now_and_then_at_length(seed):
    with storm(seed, slow_s=0.06, appends=120) as found:
        assert found == []


def test_the_checker_finds_a_missing_read_set_test(monkeypatch):
    monkeypatch.setattr(WriteLog, "first_conflict", lambda *_, **__: None)
    assert_found(2, "read register")


def test_the_checker_finds_mutations_that_are_not_known_again(monkeypatch):
    waiting = ServerConnection._waiting

    def forgetful(self: ServerConnection, message: Any, _: Any) -> Any:
        return waiting(self, message, None)

    monkeypatch.setattr(ServerConnection, "_waiting", forgetful)
    assert "mutation_id" in Run.__struct_fields__, "what the plant takes away"
    assert_found(3, "twice")


def test_the_checker_finds_results_of_two_commits_in_one_transition(monkeypatch):
    show = LiveQueries._show

    def late(runs: Any) -> Any:
        # One in three of what a transition ran is shown by the next one only.
        return show([each for each in runs if each[0].state is None or each[0].runs % 3])

    monkeypatch.setattr(LiveQueries, "_show", staticmethod(late))
    assert_found(4, "no state at")
