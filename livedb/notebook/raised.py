"""An error that many have, raised to one of them.

The error of a live query stands in its state for every handle that follows it. Raising that object
would put all it passes on its way into its traceback: every read would make it longer, and it would
keep the reader's variables alive, the handle among them.
"""

from __future__ import annotations

from copy import copy
from types import FunctionType


def raised_to_one(error: Exception) -> Exception:
    """The same error once more, with the traceback as it is so far; raise it once.

    An exception whose class makes it of something else than its `args` and its attributes is
    returned itself.
    """
    kind = type(error)
    try:
        if isinstance(kind.__init__, FunctionType):  # which would make its message anew
            copied = kind.__new__(kind, *error.args)
            copied.__dict__.update(error.__dict__)
            copied.args = error.args
        else:
            copied = copy(error)
        if str(copied) != str(error):
            return error
    except Exception:  # noqa: BLE001  # whatever a user's class does when it is made
        return error
    copied.__cause__, copied.__context__ = error.__cause__, error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied.with_traceback(error.__traceback__)
