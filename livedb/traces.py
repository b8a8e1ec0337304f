"""Where in the code of functions an error came from: what their author looks for first.

Lines alone: the variables of a function are anybody's data. The frames of livedb and of Python's
standard library are left out, and those of installed packages where there are others.
"""

from __future__ import annotations

import os
from pathlib import Path
from traceback import walk_tb

FRAMES_MAX = 8
"""Calls that are named of the way to an error: of a recursion the first and the last ones."""

_OWN = str(Path(__file__).parent) + os.sep
_STANDARD = str(Path(os.__file__).parent) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def trace_of(error: BaseException) -> tuple[str, ...]:
    """`    at add (/app/functions/tasks.py:12)` for each call that led to an error.

    Nothing of what was refused before a function began.
    """
    return tuple(f"    at {name} ({file}:{line})" for name, file, line in frames_of(error))


def frames_of(error: BaseException) -> list[tuple[str, str, int]]:
    """The function, the file and the line of each of these calls, outermost first."""
    found = [
        (frame.f_code.co_name, frame.f_code.co_filename, line)
        for frame, line in walk_tb(error.__traceback__)
        if _is_theirs(frame.f_code.co_filename)
    ]
    found = [each for each in found if not _is_installed(each[1])] or found
    half = FRAMES_MAX // 2
    return found if len(found) <= FRAMES_MAX else found[:half] + found[-half:]


def _is_theirs(file: str) -> bool:
    if file.startswith((_OWN, "<frozen ")):
        return False
    return not file.startswith(_STANDARD) or _is_installed(file)


def _is_installed(file: str) -> bool:
    return any(each in file for each in _INSTALLED)
