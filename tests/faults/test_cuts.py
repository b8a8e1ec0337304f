"""Connections cut at every moment, the service killed: every mutation happens, and once.

The official clients have theirs in tests/service: those of npm are exactly once too, those of PyPI
at least once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

import livedb
from livedb.client import connection
from tests.faults.cutting import MOMENTS, CuttingProxy
from tests.faults.serve_child import ServiceProcess

logger = logging.getLogger(__name__)

CLIENTS = 4
RESTART_S_MAX = 120.0


class Callers:
    """Clients that make mutations, one after the other each, and follow what they made."""

    def __init__(self, port: int, mutations: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._mutations = mutations
        self.acknowledged: list[str] = []
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(CLIENTS)
        ]

    @property
    def is_busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        try:
            with livedb.connect(self._url) as db:
                self._mutate(db, client)
        except BaseException as error:  # noqa: BLE001  # it is the test's finding
            self.failures.append(error)

    def _mutate(self, db: livedb.Database, client: int) -> None:
        mine: list[str] = []
        table = f"notes{client}"
        tokens = db.function("tokens").live(table=table)
        for at in range(self._mutations // CLIENTS):
            token = f"{client}:{at}"
            db.function("note")(text="x", token=token, table=table)
            self.acknowledged.append(token)
            mine.append(token)
            # Its maker reads its own write, through whatever connection there is now.
            if at % 20 == 0:
                assert token in tokens.value
        assert tokens.value == mine


def run(folder: Path, *, mutations: int, cuts: int, kills: int, seed: int) -> CuttingProxy:
    random = Random(seed)
    with (
        pytest.MonkeyPatch.context() as patch,
        ServiceProcess(folder) as service,
        CuttingProxy(service.port, cuts=cuts, seed=seed) as proxy,
    ):
        # A busy machine takes longer to start it than a call waits for a service that is away.
        patch.setattr(connection, "CONNECT_S_MAX", RESTART_S_MAX)
        callers = Callers(proxy.port, mutations)
        callers.start()
        for kill in range(1, kills + 1):
            wanted = kill * mutations // (kills + 1)
            while callers.is_busy and len(callers.acknowledged) < wanted:
                time.sleep(0.01)
            time.sleep(random.random() * 0.02)
            if callers.is_busy:
                service.kill()
        callers.join()
        assert callers.failures == []
        assert service.kills == kills
    with livedb.open(folder) as db:
        kept = Counter(
            each["token"] for client in range(CLIENTS) for each in db[f"notes{client}"].collect()
        )
    assert len(callers.acknowledged) == mutations
    assert [token for token in callers.acknowledged if token not in kept] == [], "none is lost"
    assert [token for token, count in kept.items() if count > 1] == [], "none happens twice"
    assert len(kept) == mutations
    logger.info("%d mutations, cuts %s, %d kills", mutations, dict(proxy.cuts), kills)
    return proxy


def test_cut_and_killed_every_mutation_happens_once(tmp_path):
    proxy = run(tmp_path / "w", mutations=600, cuts=40, kills=1, seed=1)
    assert set(proxy.cuts) == set(MOMENTS)


@pytest.mark.oracle
@pytest.mark.timeout(3600)
def test_five_hundred_cuts_lose_and_double_none_of_five_thousand_mutations(tmp_path):
    proxy = run(tmp_path / "w", mutations=5_000, cuts=500, kills=15, seed=2)
    assert sum(proxy.cuts.values()) == 500
    assert set(proxy.cuts) == set(MOMENTS)
