"""What differs between the programs that show a notebook. The rest of `notebook/` knows none.

Every widget goes through the two functions here: one for its comm, one for its output.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def let_pages_choose_the_subshell(comm: Any) -> None:
    """Have the kernel hear a page's messages on `comm` while a cell is running.

    JupyterLab opens a subshell per comm and names it in each message. ipykernel 7.4 does not obey:
    it delivers a page's messages to whichever shell last *sent* on that comm. For a widget made in
    a cell that is the main shell, so scrolling would wait until the running cell ends. It does so
    only for a comm that has such a route, hence the private attribute; there is no public way.
    Comms of other hosts have none. `tests/notebook/test_hosts.py` fails without this.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = None  # noqa: SLF001 - see above


def draws_only_widget_views() -> bool:
    """Whether this host draws a widget only in place of its own widget-view mime type.

    In JupyterLab, Notebook 7 and voila a widget finds its place in the output by itself
    (`widgets/src/view/places.ts`), and the output is plain HTML: with the widget view in it, a
    notebook that is opened again tomorrow says "model not found" where the rows were. VS Code and
    Colab put each output into a frame of its own, which only the widget view brings to life.
    (VS Code and Colab were not tried here; how they are recognised is from their sources.)
    """
    if "google.colab" in sys.modules:
        return True
    # A Jupyter server sets it; in the sessions that VS Code asks for it carries VS Code's mark.
    session = os.environ.get("JPY_SESSION_NAME", "")
    return "-jvsc-" in session if session else "VSCODE_PID" in os.environ


def reruns_cells_of_widgets() -> bool:
    """Whether this host runs cells that use a widget again when a page changes a trait of it.

    marimo does, and only then: so its pages tell which commit they show, and cells that name
    `mo.ui.anywidget(handle)` follow commits. Elsewhere that would be a message for nothing.
    """
    marimo: Any = sys.modules.get("marimo")
    return marimo is not None and bool(marimo.running_in_notebook())
