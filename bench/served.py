"""What the bench talks to over loopback, each in a process of its own: services and their peers."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec

from bench.memory import resident_bytes
from bench.tasks import open_tasks
from livedb import MutationContext, QueryContext

PIECE_BYTES = 256 << 10
"""Bytes of a file that are sent or taken at once."""

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


class ServedFiles:
    """A service that keeps files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = _Child([sys.executable, "-m", "bench.served", "files", str(path)])
        self._port: int = self._process.started["port"]
        self.pid = self._process.pid

    def upload(self, content: Path | bytes) -> str:
        """Store a file, as a browser does; returns its id."""
        url = urlsplit(self._call("mutation", "cells:upload_url"))
        stored: str = _post(self._port, f"{url.path}?{url.query}", content)["storageId"]
        return stored

    def url(self, file: str) -> str:
        found: str = self._call("query", "cells:url", id=file)
        return found

    def contents(self) -> list[Path]:
        """Where its files lie."""
        return files_of(self._path)

    def _call(self, kind: str, path: str, **args: str) -> Any:
        asked = msgspec.json.encode({"path": path, "args": args, "format": "json"})
        return _post(self._port, f"/api/{kind}", asked)["value"]

    def close(self) -> None:
        self._process.close()


def files_of(workspace: Path) -> list[Path]:
    """Where the contents of a workspace's files lie."""
    return [*(workspace / "files").iterdir()]


class PlainFiles:
    """Python's own `http.server`, that keeps the last file it got."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = _Child([sys.executable, "-m", "bench.served", "plain", str(path)])
        self._port: int = self._process.started["port"]
        self.url = f"http://127.0.0.1:{self._port}/{path.name}"

    def upload(self, content: Path | bytes) -> None:
        _post(self._port, "/", content)

    def contents(self) -> list[Path]:
        return [self._path]

    def close(self) -> None:
        self._process.close()


def _post(port: int, target: str, content: Path | bytes) -> Any:
    with ExitStack() as stack:
        connection = stack.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=60)))
        connection.blocksize = PIECE_BYTES
        headers = {"content-type": "application/json"}
        body: Any = content
        if isinstance(content, Path):
            body = stack.enter_context(content.open("rb"))
            headers = {
                "content-type": "application/octet-stream",
                "content-length": str(content.stat().st_size),
            }
        connection.request("POST", target, body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"POST {target}: {answer.status} {said!r}")
        return msgspec.json.decode(said)


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
        self.pid = self._process.pid
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
                runs=sum(record.runs for record in workspace.calling.runs.values()),
                resident_bytes=resident_bytes(),
            )
            _say(used._asdict())
    tasks.db.close()


def _serve_files(path: str) -> None:
    import livedb
    from livedb.service.server import ServiceThread

    with livedb.open(path) as db:

        @db.mutation
        def upload_url(ctx: MutationContext) -> str:
            return ctx.storage.generate_upload_url()

        @db.query
        def url(ctx: QueryContext, id: str) -> str | None:  # noqa: A002
            return ctx.storage.get_url(id)

        with ServiceThread(db.backend.workspace) as service:
            _say({"port": service.port})
            sys.stdin.read()


def _serve_plain(path: str) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            left = int(self.headers["content-length"])
            with open(path, "wb") as file:  # noqa: PTH123
                while left:
                    piece = self.rfile.read(min(left, PIECE_BYTES))
                    file.write(piece)
                    left -= len(piece)
                file.flush()
                os.fsync(file.fileno())
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(Path(path).parent)))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    _say({"port": server.server_port})
    sys.stdin.read()
    server.shutdown()
    serving.join()
    server.server_close()


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
    serve: dict[str, Callable[..., None]] = {
        "tasks": _serve_tasks,
        "files": _serve_files,
        "plain": _serve_plain,
        "echo": _serve_echo,
    }
    serve[sys.argv[1]](*sys.argv[2:])
