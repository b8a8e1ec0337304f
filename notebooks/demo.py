"""`make demo`: runs the quickstart for real, and shows what a commit did to a live result.

Leaves the executed notebook as HTML and the Parquet files in build/demo/, and ends by itself.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

HERE = Path(__file__).parent
OUT = HERE.parent / "build/demo"
RULE = "-" * 88


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for old in ("flights.livedb", "worst_journeys.parquet", "flights.parquet", "quickstart.html"):
        _remove(OUT / old)
    # The kernel finds livedb in this checkout even where it is not installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])
    )
    notebook = nbformat.read(HERE / "01_quickstart.ipynb", as_version=4)
    print(
        f"Running {HERE.name}/01_quickstart.ipynb on the New York flights of 2013 ...", flush=True
    )
    client = NotebookClient(
        notebook,
        timeout=300,
        resources={"metadata": {"path": str(OUT)}},
        # The page then shows the rows themselves, not a widget that waits for a kernel.
        store_widget_state=False,
        on_cell_executed=_show,
    )
    client.execute()
    page, _ = HTMLExporter().from_notebook_node(notebook)
    (OUT / "quickstart.html").write_text(page)
    print(RULE)
    for left in sorted([*OUT.glob("*.html"), *OUT.glob("*.parquet")]):
        size_mib = left.stat().st_size / (1 << 20)
        print(f"{left.relative_to(HERE.parent)}  {size_mib:.1f} MiB")


def _show(*, cell: Any, **_: Any) -> None:
    """Print a cell that is tagged to be shown, and what it put out."""
    if "show" not in cell.metadata.get("tags", ()):
        return
    print(RULE)
    print(textwrap.indent(cell.source, ">>> "))
    for output in cell.outputs:
        text = output.get("text") or output.get("data", {}).get("text/plain")
        if text:
            print(text.rstrip())
    sys.stdout.flush()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
