"""Who has a workspace open, as others look for it."""

from __future__ import annotations

import socket

import pytest

import livedb
from livedb.sharing.holders import answers
from tests.sharing.processes import Python


def test_a_socket_that_accepts_and_says_nothing_is_no_answer(tmp_path):
    """So it is with that of a process that was killed, until the system has taken it apart."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(path)
        silent.listen()
        assert not answers(f"unix:{path}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("loopback", ["0", "1"])
def test_one_that_serves_answers(tmp_path, monkeypatch, loopback):
    monkeypatch.setenv("LIVEDB_LOOPBACK", loopback)
    with Python(path=str(tmp_path / "w")) as owner:
        owner.run("db = livedb.open(path)\ndb.serve()")
        with livedb.open(tmp_path / "w") as db:
            assert db.backend.name.startswith("http:" if loopback == "1" else "unix:")
            assert answers(db.backend.name)
