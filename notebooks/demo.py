"""`make demo`: runs the quickstart for real, and shows what a commit did to a live result.

Leaves the executed notebook as HTML and the Parquet files in build/demo/, and ends by itself.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

HERE = Path(__file__).parent
OUT = HERE.parent / "build/demo"

TITLES = {
    "loaded": "Loaded: what the workspace holds",
    "before": "A live query, before the commit",
    "before-sql": "Live SQL, before the commit",
    "commit": "A cell commits",
    "after": "The same two handles after it; nothing was asked again",
}
"""What the terminal says above each cell with one of these tags."""


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
        # Else it warns that its sockets on this machine are not encrypted.
        extra_arguments=["--IPKernelApp.log_level=40"],
    )
    client.execute()
    page, _ = HTMLExporter().from_notebook_node(notebook)
    (OUT / "quickstart.html").write_text(page)
    print("\nLeft in build/demo/:")
    for left in sorted([*OUT.glob("*.html"), *OUT.glob("*.parquet")]):
        print(f"    {left.name:<26} {left.stat().st_size / 1024:>8,.0f} KiB")


def _show(*, cell: Any, **_: Any) -> None:
    """Print what a cell put out, under the title of its tag."""
    for tag in cell.metadata.get("tags", ()):
        print(f"\n{TITLES[tag]}")
        outputs = [output.data["text/plain"] for output in cell.outputs if "data" in output]
        shown = "\n\n".join(filter(None, outputs)) or cell.source
        print(textwrap.indent(shown.rstrip(), "    "), flush=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
