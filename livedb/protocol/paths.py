"""Function paths on the wire: `module:function`.

Source: spec sync-protocol.md 3.
"""

from __future__ import annotations


def canonical_path(path: str) -> str:
    """One spelling for each function: `tasks`, `tasks:default` and `tasks.js:default` are one.

    The part after the last colon is the function; without one it is `default`. A function that a
    cell defines has a name without a module: it is reached as `name`, and stays so.
    """
    module, colon, function = path.rpartition(":")
    if not colon:
        module, function = path, "default"
    return f"{module.removesuffix('.js')}:{function}"
