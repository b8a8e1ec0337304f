"""The service of the example in a child process, and what the tests do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples/tasks"


class TasksService:
    """The tasks, served from a workspace in `folder`; it keeps its port when it starts again."""

    def __init__(self, folder):
        self.folder = folder
        self.port = 0
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, str(Path(__file__).with_name("serve_tasks.py"))]
        self.process = subprocess.Popen(
            [*command, str(self.folder), str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        self.port = int(self.process.stdout.readline())

    def pause(self):
        """It is there and hears, and answers nothing until `go_on`."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait(20)
        self.process.stdout.close()
