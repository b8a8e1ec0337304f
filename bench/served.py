"""A served workspace in a process of its own, that answers what it has used."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from bench.memory import resident_bytes
from bench.tasks import open_tasks
from livedb import MutationContext

_GIVE_UP_S = 600
"""A process that nobody stops ends by itself."""


class Used(NamedTuple):
    """What a service has used since it began."""

    cpu_s: float
    switches: int
    runs: int
    resident_bytes: int


class ServedTasks:
    """The service, as the bench's process sees it."""

    def __init__(self, path: Path, count: int) -> None:
        command = [sys.executable, "-m", "bench.served", "tasks", str(path), str(count)]
        self._process = _Child(command)
        self.port: int = self._process.started["port"]
        self.ids: list[str] = self._process.started["ids"]

    def used(self) -> Used:
        return Used(**self._process.ask())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.close()


class Echo:
    """The floor of a round trip: a process that sends back what comes, nothing else."""

    def __init__(self) -> None:
        self._process = _Child([sys.executable, "-m", "bench.served", "echo"])
        address = ("127.0.0.1", self._process.started["port"])
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._message = b"x" * 200

    def round_trip(self) -> None:
        self._socket.sendall(self._message)
        self._socket.recv(4096)

    def close(self) -> None:
        self._socket.close()
        self._process.close()


class _Child:
    """A process that says one line when it is ready, and one for each line it gets."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.started = self._hear()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended: {self._process.args!r}")
        return msgspec.json.decode(line)

    def ask(self) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._hear()

    def close(self) -> None:
        self._process.communicate(timeout=60)


# -- in the process --------------------------------------------------------------------------------


def _serve_tasks(path: str, count: str) -> None:
    from livedb.service.server import ServiceThread

    tasks = open_tasks(Path(path), int(count))

    @tasks.db.mutation
    def pad(ctx: MutationContext, id: str, size: int) -> None:  # noqa: A002
        ctx.db.patch("tasks", id, {"note": "x" * size})

    workspace = tasks.db.backend.workspace
    with ServiceThread(workspace) as service:
        _say({"port": service.port, "ids": tasks.ids(int(count))})
        for _ in sys.stdin:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            used = Used(
                cpu_s=usage.ru_utime + usage.ru_stime,
                switches=usage.ru_nvcsw,
                runs=sum(workspace.calling.runs.values()),
                resident_bytes=resident_bytes(),
            )
            _say(used._asdict())
    tasks.db.close()


def _serve_echo() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    _say({"port": listener.getsockname()[1]})
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(4096):
        connection.sendall(data)


def _say(message: Any) -> None:
    print(msgspec.json.encode(message).decode(), flush=True)


if __name__ == "__main__":
    watchdog = threading.Timer(_GIVE_UP_S, os._exit, (1,))
    watchdog.daemon = True
    watchdog.start()
    if sys.argv[1] == "echo":
        _serve_echo()
    else:
        _serve_tasks(*sys.argv[2:])
