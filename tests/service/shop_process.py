"""The shop on disk, served by a process of its own that a test may kill.

Usage: `python shop_process.py FOLDER PORT`; says `ready` when it listens.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import livedb
from tests.service import shop
from tests.service.serving import serving


def main():
    folder, port = sys.argv[1:]
    with livedb.open(Path(folder)) as db:
        shop.define(db)
        with serving(db, port=int(port)):
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            threading.Event().wait()


if __name__ == "__main__":
    main()
