"""The pages of `examples/tasks/web`, built as its package.json says and served as files."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.examples.serving import EXAMPLE, REPOSITORY

INTEROP = REPOSITORY / "tests/interop/node_modules"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing: the requests are the page's own."""


@contextmanager
def served_pages(folder: Path) -> Iterator[str]:
    """Build the pages into `folder` and serve it on loopback; gives its URL."""
    for name in ("index.html", "list.html", "style.css"):
        shutil.copy(EXAMPLE / "web" / name, folder)
    node = shutil.which(
        "node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    scripts = json.loads((EXAMPLE / "web/package.json").read_text())["scripts"]
    # The packages are those of `tests/interop`, and the last `--outdir` counts.
    _, *build = scripts["build"].split()
    subprocess.run(
        [node, str(INTEROP / "esbuild/bin/esbuild"), *build, f"--outdir={folder / 'dist'}"],
        cwd=EXAMPLE / "web",
        env=os.environ | {"NODE_PATH": str(INTEROP)},
        check=True,
        capture_output=True,
    )
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
