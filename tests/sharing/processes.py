"""Other processes of a test: Python lines that are run one at a time, and whatever they print."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

_LOOP = """
import sys, traceback
names = {}
for line in sys.stdin:
    try:
        exec(line.replace("\\x1f", "\\n"), names)
    except BaseException as error:
        print(type(error).__name__ + ":", error)
    print("\\x1e", flush=True)
"""


class Python:
    """A Python that does what it is told. It is a context manager, and ends with it."""

    def __init__(self, **names):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.run("import livedb, os, time")
        for name, value in names.items():
            self.run(f"{name} = {value!r}")

    @property
    def pid(self):
        return self.process.pid

    def begin(self, code):
        """Tell it what to do, without waiting."""
        self.process.stdin.write(code.strip().replace("\n", "\x1f") + "\n")
        self.process.stdin.flush()

    def finish(self):
        """What it printed until it was done."""
        lines = []
        while (line := self.process.stdout.readline()) != "\x1e\n":
            assert line, "the process ended"
            lines.append(line)
        return "".join(lines).strip()

    def run(self, code):
        """Do it; what it printed."""
        self.begin(code)
        return self.finish()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        """Let it exit as a script does; its exit code."""
        self.process.stdin.close()
        return self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        self.process.stdout.close()
        if not self.process.stdin.closed:
            self.process.stdin.close()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
