"""The example as its README serves it, in a child process, and what the tests do to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples/tasks"


class TasksService:
    """The tasks, served from a workspace in `folder`; it keeps its port when it starts again.

    `functions` is a copy of the example's, in which a test may save.
    """

    def __init__(self, folder):
        self.folder = folder
        self.functions = shutil.copytree(EXAMPLE / "functions", folder / "functions")
        self.port = 0
        self.start()

    def start(self):
        command = [sys.executable, "-c", "from livedb.cli.main import main; main()", "serve"]
        options = [
            "--watch",
            "--anonymous",
            "--port",
            self.port,
            "--site-port",
            0,
            "--functions",
            self.functions,
        ]
        self.process = subprocess.Popen(
            list(map(str, [*command, self.folder / "tasks.livedb", *options])),
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        self.url = self.process.stdout.readline().split()[-1]
        self.site_url = self.process.stdout.readline().split()[-1]
        self.port = self.url.rpartition(":")[2]

    def pause(self):
        """It is there and hears, and answers nothing until `go_on`."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait(20)
        self.process.stdout.close()
