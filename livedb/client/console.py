"""What a function on a service printed and logged, in the output of who called or follows it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_PRINTED = "[LOG] "


def show(log_lines: Sequence[str]) -> None:
    """Print the lines of a run: what it printed as it stands, what it logged to stderr."""
    for line in log_lines:
        if line.startswith(_PRINTED):
            sys.stdout.write(f"{line.removeprefix(_PRINTED)}\n")
        else:
            sys.stderr.write(f"{line}\n")
