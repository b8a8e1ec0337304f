"""`livedb serve` as a process of its own, and what the tests do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


class ServeProcess:
    """A workspace, served; it keeps its port when it starts again.

    `url` and `site_url` are where, and `options` go to `livedb serve`.
    """

    def __init__(self, workspace, *options):
        self.workspace = workspace
        self._options = options
        self.port = 0
        self.start()

    def start(self):
        command = [sys.executable, "-c", "from livedb.cli.main import main; main()", "serve"]
        options = ["--port", self.port, "--site-port", 0, *self._options]
        self.process = subprocess.Popen(
            list(map(str, [*command, self.workspace, *options])),
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
