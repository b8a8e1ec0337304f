"""A process that has everything imported and forks children to be killed.

A fresh interpreter takes a second to import DuckDB and Arrow; a fork of this one milliseconds. It
never opens a workspace itself and has one thread, so its forks are as good as new processes.

Run as `python -m tests.faults.zygote`; `Zygote` in the test process talks to it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]

_HANG_S = float(os.environ.get("LIVEDB_FAULTS_HANG_S", "300"))


class Child:
    """A forked child that runs one workload and writes lines to `path`."""

    def __init__(self, zygote: Zygote, pid: int, path: Path) -> None:
        self.pid = pid
        self.path = path
        self._zygote = zygote

    def lines(self) -> list[str]:
        """What it wrote so far; the page cache outlives a killed process."""
        whole, _, _ = self.path.read_text().rpartition("\n")
        return whole.split("\n") if whole else []

    def wait_for(self, line: str, *, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while line not in self.lines():
            assert time.monotonic() < deadline, f"no {line!r} in {self.lines()}"
            time.sleep(0.002)

    def wait_for_lines(self, count: int, *, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while len(found := self.lines()) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} lines: {found}"
            time.sleep(0.002)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Its exit code; negative for a signal."""
        return self._zygote.ask("wait", self.pid)


class Zygote:
    """Starts children; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, workload: str, path: Path, *args: object) -> Child:
        self._count += 1
        out = self._folder / f"child-{self._count}.txt"
        out.touch()
        pid = self.ask("start", workload, str(path), str(out), *args)
        return Child(self, pid, out)

    def ask(self, *command: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        answer = self._process.stdout.readline()
        assert answer, "the zygote died"
        return int(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def _run(workload: str, path: str, out: str, args: list[object]) -> int:
    from tests.faults import workloads

    with open(out, "a", buffering=1) as file:  # noqa: PTH123
        os.dup2(file.fileno(), 2)
        # A child that hangs shows where, and ends.
        faulthandler.dump_traceback_later(_HANG_S, exit=True, file=file)

        def say(line: str) -> None:
            os.write(file.fileno(), f"{line}\n".encode())

        try:
            getattr(workloads, workload)(path, say, *args)
        except BaseException:  # noqa: BLE001  # whatever it is, the test shows it
            say(traceback.format_exc())
            return 1
    return 0


def _main() -> None:
    from tests.faults import workloads

    workloads.warm_up()
    for line in sys.stdin:
        verb, *args = json.loads(line)
        if verb == "start":
            workload, path, out, *rest = args
            pid = os.fork()
            if pid == 0:
                os._exit(_run(workload, path, out, rest))
            answer = pid
        else:
            _, status = os.waitpid(args[0], 0)
            answer = os.waitstatus_to_exitcode(status)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
