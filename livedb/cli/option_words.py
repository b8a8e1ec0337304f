"""What messages say of Python's arguments, in the words of the command line.

A message is written once, where something is refused: it may be raised in a cell, or at a shell,
also by a service far away, from which it comes as text. So it is put into other words here, at the
door, and not by who raises it, who cannot know where it will be read.
"""

from __future__ import annotations

import re

_WORDS = (
    (r"\boverwrite=True", "--overwrite"),
    (r"\bids=\"(keep|new)\"", r"--ids \1"),
    (r"\bload (it|'.*') with new ids\b", r"import \1 with --ids new"),
    (r"\bappend to it, or replace it\b", "append to it with --append, or --replace it"),
    (r"\bnull_values=\[(.*)\]", r"--null \1"),
    (r"\btz=\"([\w/+-]+)\"", r"--tz \1"),
    (r"\blivedb\.repair\(path\)", "`livedb repair PATH`"),
    (r"\blivedb\.repair\(\)", "`livedb repair PATH`"),
    (r"\bwith db\.load\b", "with `livedb import`"),
)


def in_options(message: str) -> str:
    """The message with options of commands for arguments of functions."""
    for python, option in _WORDS:
        message = re.sub(python, option, message)
    return message
