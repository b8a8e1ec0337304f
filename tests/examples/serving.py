"""The example as its README serves it, in a child process."""

from __future__ import annotations

import shutil

from tests.serve_process import REPOSITORY, ServeProcess

EXAMPLE = REPOSITORY / "examples/tasks"


class TasksService(ServeProcess):
    """The tasks, served from a workspace in `folder`.

    `functions` is a copy of the example's, in which a test may save.
    """

    def __init__(self, folder):
        self.folder = folder
        self.functions = shutil.copytree(EXAMPLE / "functions", folder / "functions")
        options = ("--watch", "--anonymous", "--functions", self.functions)
        super().__init__(folder / "tasks.livedb", *options)
