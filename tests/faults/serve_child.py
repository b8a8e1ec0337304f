"""A service in a process of its own, to be killed.

    python -m tests.faults.serve_child FOLDER PORT MODULE    whose `define(db)` has the functions

It says `ready` when it listens, and ends when its standard input does.
"""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class ServiceProcess:
    """A folder served at one port; killed and started again."""

    def __init__(self, folder: Path, *, module: str = "tests.faults.served") -> None:
        self._folder, self._module = str(folder), module
        self.port = free_port()
        self.kills = 0
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.faults.serve_child",
                self._folder,
                str(self.port),
                self._module,
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "its error is above"

    def kill(self) -> None:
        """As a power cut would, and start again on the same folder and port."""
        self._end()
        self.kills += 1
        self._start()

    def _end(self) -> None:
        process = self._process
        assert process.stdout is not None
        assert process.stdin is not None
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def main() -> None:
    import livedb
    from livedb.auth.access import Role
    from tests.faults.served import serving

    folder, port, module = sys.argv[1:]
    with livedb.open(Path(folder)) as db:
        importlib.import_module(module).define(db)
        with serving(db, port=int(port), role=Role.OWNER):
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            sys.stdin.read()


if __name__ == "__main__":
    main()
