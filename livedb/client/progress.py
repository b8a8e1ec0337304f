"""A progress bar for long loads: on a terminal and in a notebook, none elsewhere.

A terminal gets it on stderr. A notebook would draw that as a red block and keep it, so there it is
one plain output that is updated, and empty in the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from livedb.wording import counted

ROWS_MIN = 200_000
"""Rows of a source from which a bar is shown without asking."""

_CELLS = 30


@contextmanager
def progress_of(
    name: str, rows: int | None, *, wanted: bool | None
) -> Iterator[Callable[[int], None] | None]:
    """What a load reports its rows to; None when nothing is shown.

    Args:
        rows: how many will come, None if unknown.
        wanted: True or False as the user asked, None to decide by `rows`.
    """
    is_shown = wanted if wanted is not None else (rows or 0) >= ROWS_MIN and _is_watched()
    if not is_shown:
        yield None
        return
    write = _notebook_writer() if _is_in_notebook() else _write_to_terminal

    def report(count: int) -> None:
        write(_line(name, count, rows))

    try:
        yield report
    finally:
        # The bar is for waiting; the result of the call says what was loaded.
        write("")


def _write_to_terminal(line: str) -> None:
    # "Erase to the end of the line" is understood by every terminal since the VT100.
    sys.stderr.write(f"\r{line}\x1b[K")
    sys.stderr.flush()


def _notebook_writer() -> Callable[[str], None]:
    """An output under the running cell, made here because a load reports from other threads."""
    # A kernel has IPython loaded; only the floor `notebook` may import it.
    ipython: Any = sys.modules["IPython"]
    shown = ipython.display.display({"text/plain": ""}, raw=True, display_id=True)
    return lambda line: shown.update({"text/plain": line}, raw=True)


def _line(name: str, count: int, rows: int | None) -> str:
    if not rows:
        return f"loading {name}: {counted(count, 'row')}"
    filled = min(_CELLS, _CELLS * count // rows)
    bar = "#" * filled + "." * (_CELLS - filled)
    return f"loading {name}: [{bar}] {count:,} of {counted(rows, 'row')}"


def _is_watched() -> bool:
    return _is_in_notebook() or sys.stderr.isatty()


def _is_in_notebook() -> bool:
    """Whether cells run in this process, in a kernel."""
    kernel_app = sys.modules.get("ipykernel.kernelapp")
    return kernel_app is not None and bool(kernel_app.IPKernelApp.initialized())
