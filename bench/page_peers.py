"""What else shows tables in a notebook: perspective, itables, quak, in an environment of their own.

Their kernel runs in that environment, made under `build/` when the group runs; the page and the
Jupyter server are those of livedb. A peer that cannot be had, or that shows nothing in time, is
said and left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PINS = HERE / "page_peers.txt"
ENVIRONMENT = HERE.parent / "build/page-peers"
KERNEL = "page-peers"


class PagePeer(NamedTuple):
    """How a peer shows rows, and how it takes a change of one."""

    name: str
    begin: str
    """What is run before anything is measured; `rows` is an Arrow table."""
    show: str
    """The cell that shows `rows`."""
    counts: tuple[int, ...]
    """How many rows it is asked to show."""
    show_few: str | None = None
    """The cell that shows `few`, columns of ten rows; None where rows cannot be changed."""
    write: str = ""
    """A function that gives the third of them another text."""
    sort: str | None = None
    """JavaScript that sorts the rows on the page, as the peer's own menu does."""


PEERS = (
    PagePeer(
        name="perspective",
        begin="import perspective\nfrom perspective.widget import PerspectiveWidget",
        show="PerspectiveWidget(rows)",
        counts=(100_000, 1_000_000),
        show_few="shown = PerspectiveWidget(few, index='n')\nshown",
        write="lambda text: shown.update([{'n': 2, 'text': text}])",
        sort="document.querySelector('perspective-viewer').restore({sort: [['h', 'desc']]})",
    ),
    PagePeer(
        name="itables",
        begin="import itables, pandas\nfrom itables.widget import ITable",
        show="itables.show(rows.to_pandas(), connected=False)",  # it takes a sample of 64 KB
        counts=(100_000, 1_000_000),
        show_few="frame = pandas.DataFrame(few)\nshown = ITable(frame)\nshown",
        write="lambda text: (frame.isetitem(1, [text] * 10), shown.update(frame))",
    ),
    PagePeer(
        name="quak",
        begin="import quak",
        show="quak.Widget(rows)",
        counts=(100_000, 1_000_000, 10_000_000),
    ),
)


def make_environment() -> str | None:
    """Install the peers as pinned, unless they are; returns why they cannot be."""
    ready = ENVIRONMENT / "ready"
    if ready.exists() and ready.read_text() == PINS.read_text():
        return None
    steps = (
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(ENVIRONMENT)],
        [sys.executable, "-m", "pip", "--python", str(_python()), "install", "-q", "-r", str(PINS)],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or ["no message"])[-1]
    ready.write_text(PINS.read_text())
    return None


def add_kernel(jupyter_data: Path) -> None:
    """Let a Jupyter server whose data folder this is start kernels in the peers' environment."""
    folder = jupyter_data / "kernels" / KERNEL
    folder.mkdir(parents=True)
    command = [str(_python()), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "peers", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))


def _python() -> Path:
    return ENVIRONMENT / "bin/python"
