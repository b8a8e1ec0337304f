"""What a notebook user expects after each cell: replaced handles close, changed helpers count.

Installed on the IPython shell when a workspace is opened in one; a script has no cells and none of
this. After each cell:

*   a handle whose variable now holds another handle is closed: running `h = q.live()` again leaves
    one live query, not two. Views of it elsewhere in the notebook show the new handle from then on;
*   a handle that no variable holds leaves IPython's output history (`Out[5]`, `_5`, `_`) and its
    table is closed once no view of it is open. If nothing else of the user's holds it, a list for
    example, that drops it;
*   a query is run again when a helper function or another global that its code names was rebound,
    itself or through helpers (`meaning.py`): to its live results that is a redefinition. A function
    of a connected workspace is sent again when anything that travels with it has changed; a service
    is asked nothing else between cells.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from livedb.client.backend import Backend
from livedb.clock import Clock, SystemClock
from livedb.functions.definition import FunctionDefinition
from livedb.notebook.handles import Handle, open_handles
from livedb.notebook.meaning import meaning_of

UNSEEN_S_MAX = 60.0
"""Seconds a handle stays in the output history without a view: one opens some time after its cell
has run, and a page that is reloaded opens it again."""

_HISTORY_NAMES = ("_", "__", "___", "_oh", "Out")


class Manners:
    """The state between two cells of one shell."""

    def __init__(self, shell: Any, *, clock: Clock | None = None) -> None:
        self._shell = shell
        self._bound: dict[str, weakref.ref[Handle[Any]]] = {}
        self._backends: weakref.WeakSet[Backend] = weakref.WeakSet()
        self._unseen_since: weakref.WeakKeyDictionary[Handle[Any], float] = (
            weakref.WeakKeyDictionary()
        )
        self._clock = clock or SystemClock()
        self._meanings: dict[tuple[int, str], list[object]] = {}
        shell.events.register("post_run_cell", self._after_cell)

    def add(self, backend: Backend) -> None:
        """Mind the functions of this workspace too."""
        self._backends.add(backend)

    def _after_cell(self, _: Any = None) -> None:
        names: Mapping[str, Any] = self._shell.user_ns
        self._close_replaced(names)
        self._forget_unseen(names)
        for backend in list(self._backends):
            self._follow_code(backend)

    # -- handles -------------------------------------------------------------------------------

    def _close_replaced(self, names: Mapping[str, Any]) -> None:
        now = {
            name: value
            for name, value in list(names.items())
            if isinstance(value, Handle) and not _is_history(name)
        }
        kept = set(map(id, now.values()))
        for name, reference in self._bound.items():
            before, successor = reference(), now.get(name)
            if before is None or successor is None or id(before) in kept:
                continue
            before.hand_over(successor)
            self._forget(before)
        self._bound = {name: weakref.ref(handle) for name, handle in now.items()}

    def _forget_unseen(self, names: Mapping[str, Any]) -> None:
        named = {
            id(value)
            for name, value in list(names.items())
            if isinstance(value, Handle) and not _is_history(name)
        }
        now_s = self._clock.monotonic_s()
        for handle in open_handles():
            if id(handle) in named or handle.view_count:
                self._unseen_since.pop(handle, None)
            elif now_s - self._unseen_since.setdefault(handle, now_s) >= UNSEEN_S_MAX:
                self._forget(handle)

    def _forget(self, handle: Handle[Any]) -> None:
        """Take the handle out of IPython's history, and its widget out of ipywidgets' registry."""
        names = self._shell.user_ns
        for holder in (names, self._shell.user_ns_hidden):
            for name in [name for name, value in list(holder.items()) if value is handle]:
                del holder[name]
        history = names["_oh"]
        for number in [number for number, value in history.items() if value is handle]:
            del history[number]
        for name in ("_", "__", "___"):  # the next result would move them back into `names`
            if getattr(self._shell.displayhook, name, None) is handle:
                setattr(self._shell.displayhook, name, "")
        last = getattr(self._shell, "last_execution_result", None)
        if last is not None and last.result is handle:
            last.result = None
        handle.close_widget()

    # -- functions -----------------------------------------------------------------------------

    def _follow_code(self, backend: Backend) -> None:
        backend.follow_code(lambda definition: self._is_changed(backend, definition))

    def _is_changed(self, backend: Backend, definition: FunctionDefinition) -> bool:
        """Whether what a function of a cell names means something else than after the last cell."""
        handler = definition.handler
        names = self._shell.user_ns
        if not isinstance(handler, FunctionType):
            return False
        written = (handler, definition.innermost)  # which may lie below a library's decorator
        if not any(getattr(each, "__globals__", None) is names for each in written):
            return False
        now = meaning_of(handler, names)
        before = self._meanings.get((id(backend), definition.name))
        self._meanings[id(backend), definition.name] = now
        return before is not None and before != now


def _is_history(name: str) -> bool:
    return name in _HISTORY_NAMES or (name.startswith("_") and name[1:].isdigit())


_installed: weakref.WeakKeyDictionary[Any, Manners] = weakref.WeakKeyDictionary()


def install(shell: Any, backend: Backend) -> None:
    """Mind `backend` in this shell."""
    manners = _installed.get(shell)
    if manners is None:
        manners = _installed[shell] = Manners(shell)
    manners.add(backend)
