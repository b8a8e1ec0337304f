"""A progress bar for long loads: on a terminal and in a notebook, none elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done = count
        sys.stderr.write("\r" + _line(name, count, rows))
        sys.stderr.flush()

    try:
        yield report
    finally:
        # The bar is for waiting; the result of the call says what was loaded.
        sys.stderr.write("\r" + " " * len(_line(name, done, rows)) + "\r")
        sys.stderr.flush()


def _line(name: str, count: int, rows: int | None) -> str:
    if not rows:
        return f"loading {name}: {count:,} rows"
    filled = min(_CELLS, _CELLS * count // rows)
    return f"loading {name}: [{'#' * filled}{'.' * (_CELLS - filled)}] {count:,} of {rows:,} rows"


def _is_watched() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
