"""A service in a process of its own, to be killed: `service_child.py FOLDER PORT [FUNCTIONS]`."""

import signal
import sys
from pathlib import Path

import livedb
from livedb.auth.access import Role
from livedb.functions.loader import FunctionFolder
from livedb.service.access import Access
from livedb.service.server import ServiceThread

with livedb.open(sys.argv[1]) as db:
    access = Access(db.backend.workspace.clock, anonymous=Role.OWNER)
    if len(sys.argv) > 3:
        db.backend.workspace.push_functions(FunctionFolder(Path(sys.argv[3])).load())
    with ServiceThread(db.backend.workspace, port=int(sys.argv[2]), access=access) as service:
        sys.stdout.write(f"{service.port}\n")
        sys.stdout.flush()
        signal.pause()
