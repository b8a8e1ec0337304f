"""The tasks of `examples/tasks`, served by a process of its own that a test may stop or kill.

Usage: `python serve_tasks.py FOLDER PORT`; says its port when it listens.
"""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

import livedb
from livedb.service.server import ServiceThread

FUNCTIONS = Path(__file__).parents[2] / "examples/tasks/functions"


def main():
    folder, port = sys.argv[1:]
    sys.path.insert(0, str(FUNCTIONS))
    with livedb.open(Path(folder)) as db:
        for module in ("schema", "tasks"):
            db.push(importlib.import_module(module))
        with ServiceThread(db.backend.workspace, port=int(port)) as service:
            sys.stdout.write(f"{service.port}\n")
            sys.stdout.flush()
            threading.Event().wait()


if __name__ == "__main__":
    main()
