"""The peers that are servers: PostgreSQL and Redis, as their Debian packages bring them.

Each is started on loopback in a folder of its own and stopped again. Their clients here are raw
sockets, as livedb's are, so that the servers are compared and not drivers. One that is not
installed is left out, and the figure says so.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bench.tasks import task

START_S_MAX = 20.0
HOT = "k5"
C = TypeVar("C")
_TELL = """
create function tell() returns trigger language plpgsql
as $$ begin perform pg_notify('touched', new.id); return null; end $$
"""


class Peer(Protocol):
    """A server with tasks, one client that changes them, and one that is told."""

    name: str

    def bump(self) -> object:
        """Change the hot task durably, and wait until the other client holds what it is now."""

    def close(self) -> None:
        """Stop the server."""


def start_peers(folder: Path, count: int) -> tuple[list[Peer], list[str]]:
    """The peers that are installed, and the names of those that are not."""
    peers: list[Peer] = []
    missing: list[str] = []
    for kind in (Postgres, Redis):
        program = kind.find(folder)
        if program is None:
            missing.append(kind.name)
        else:
            peers.append(kind(program, folder / kind.__name__.lower(), count))
    return peers, missing


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=START_S_MAX)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _when_ready(process: subprocess.Popen[bytes], connect: Callable[[], C]) -> C:
    """The first client that a starting server takes; a server that takes none is stopped."""
    give_up = time.perf_counter() + START_S_MAX
    while True:
        try:
            return connect()
        except (OSError, RefusedError):
            if time.perf_counter() > give_up or process.poll() is not None:
                _stop(process)
                raise
            time.sleep(0.05)


class RefusedError(Exception):
    """What a server says instead of doing what it is asked."""


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=START_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _can_reach(user: str, folder: Path) -> bool:
    try:
        done = subprocess.run(["test", "-x", folder], user=user, cwd="/", check=False)
    except (KeyError, ValueError, PermissionError):  # there is no such user, or none to become
        return False
    return done.returncode == 0


class Postgres:
    """A trigger that notifies, and a listener that queries again."""

    name = "PostgreSQL NOTIFY + query"

    @classmethod
    def find(cls, folder: Path) -> Path | None:
        """The newest version's programs, if its user can reach the folder."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found or not _can_reach(cls.user(), folder):
            return None
        return found[-1].parent

    @staticmethod
    def user() -> str:
        """As whom it runs: it refuses to run as root."""
        return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

    def __init__(self, programs: Path, folder: Path, count: int) -> None:
        user = self.user()
        folder.mkdir()
        shutil.chown(folder, user=user)
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "bench", "-N"],
            check=True,
            capture_output=True,
            user=user,
            cwd="/",
        )
        port = _free_port()
        command = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        self._server = subprocess.Popen(
            command, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._writer = _when_ready(self._server, lambda: _PostgresClient(port))
        self._listener = _PostgresClient(port)
        rows = ", ".join(
            f"('k{number}', {number}, '{json.dumps(task(number))}')" for number in range(count)
        )
        for statement in (
            "create table tasks(id text primary key, n integer, doc jsonb)",
            f"insert into tasks values {rows}",
            _TELL,
            "create trigger changed after update on tasks for each row execute function tell()",
            "vacuum analyze tasks",
        ):
            self._writer.query(statement)
        self._listener.query("listen touched")

    def bump(self) -> None:
        self._writer.send(f"update tasks set n = n + 1 where id = '{HOT}'")
        self._listener.wait(b"A")
        self._listener.query(f"select n, doc from tasks where id = '{HOT}'")
        self._writer.wait(b"Z")

    def close(self) -> None:
        self._writer.close()
        self._listener.close()
        _stop(self._server)


class _PostgresClient:
    """The simple query protocol."""

    def __init__(self, port: int) -> None:
        self._socket = _connect(port)
        self._buffer = bytearray()
        parameters = b"user\0bench\0database\0postgres\0\0"
        self._socket.sendall(struct.pack(">II", len(parameters) + 8, 196608) + parameters)
        self.wait(b"Z")

    def query(self, statement: str) -> None:
        self.send(statement)
        self.wait(b"Z")

    def send(self, statement: str) -> None:
        text = statement.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack(">I", len(text) + 4) + text)

    def wait(self, kind: bytes) -> None:
        """Read up to a message of a kind."""
        while True:
            while len(self._buffer) >= 5:
                (size,) = struct.unpack_from(">I", self._buffer, 1)
                if len(self._buffer) < size + 1:
                    break
                found = bytes(self._buffer[:1])
                if found == b"E":
                    raise RefusedError(bytes(self._buffer))
                del self._buffer[: size + 1]
                if found == kind:
                    return
            data = self._socket.recv(1 << 16)
            if not data:
                raise RefusedError("the server closed the connection")
            self._buffer += data

    def close(self) -> None:
        self._socket.close()


class Redis:
    """A key that is set and published, each set in the file before it is answered."""

    name = "Redis publish + get"

    @staticmethod
    def find(_: Path) -> Path | None:
        found = shutil.which("redis-server")
        return Path(found) if found else None

    def __init__(self, program: Path, folder: Path, count: int) -> None:
        folder.mkdir()
        port = _free_port()
        settings = ("--appendonly yes", "--appendfsync always", "--save", "--bind 127.0.0.1")
        words = [word for setting in settings for word in setting.split()]
        words.insert(words.index("--save") + 1, "")
        command = [str(program), "--port", str(port), "--dir", str(folder), *words]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._writer = _when_ready(self._server, lambda: _RedisClient(port))
        self._listener, self._reader = _RedisClient(port), _RedisClient(port)
        for number in range(count):
            self._writer.call("SET", f"k{number}", json.dumps(task(number)))
        self._value = json.dumps(task(5))
        self._listener.call("SUBSCRIBE", "touched")

    def bump(self) -> None:
        # Told after it is durable: a transaction is written before its answers go out.
        self._writer.send(
            ("MULTI",), ("SET", HOT, self._value), ("PUBLISH", "touched", HOT), ("EXEC",)
        )
        self._listener.read()
        self._reader.call("GET", HOT)
        for _ in range(4):
            self._writer.read()

    def close(self) -> None:
        for client in (self._writer, self._listener, self._reader):
            client.close()
        _stop(self._server)


class _RedisClient:
    def __init__(self, port: int) -> None:
        self._socket = _connect(port)
        self._file = self._socket.makefile("rb")

    def call(self, *words: str) -> Any:
        self.send(words)
        return self.read()

    def send(self, *commands: tuple[str, ...]) -> None:
        text = ""
        for words in commands:
            text += f"*{len(words)}\r\n"
            text += "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        self._socket.sendall(text.encode())

    def read(self) -> Any:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        assert kind not in {b"-", b""}, line
        if kind == b"$":
            return self._file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return rest

    def close(self) -> None:
        self._file.close()
        self._socket.close()
