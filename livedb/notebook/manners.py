"""What a notebook user expects after each cell: replaced handles close, changed helpers count.

Installed on the IPython shell when a workspace is opened in one; a script has no cells and none of
this. After each cell:

*   a handle whose variable now holds another handle is closed: running `h = q.live()` again leaves
    one live query, not two;
*   a handle that only IPython's output history holds is closed once no view of it is open;
*   a query is run again when a helper function or another global that its code names was rebound:
    to its live results that is a redefinition.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from livedb.client.backend import Backend
from livedb.clock import Clock, SystemClock
from livedb.notebook.handles import Handle, open_handles

if TYPE_CHECKING:
    from livedb.client.local import LocalBackend

UNSEEN_S_MAX = 60.0
"""Seconds after which a handle that only the output history holds is closed: a view opens some
time after its cell has run."""

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
        self._globals: dict[tuple[int, str], dict[str, object]] = {}
        shell.events.register("post_run_cell", self._after_cell)

    def add(self, backend: Backend) -> None:
        """Mind the functions of this workspace too."""
        self._backends.add(backend)

    def _after_cell(self, _: Any = None) -> None:
        names: Mapping[str, Any] = self._shell.user_ns
        self._close_replaced(names)
        self._close_forgotten(names)
        for backend in list(self._backends):
            self._follow_globals(backend)

    # -- handles -------------------------------------------------------------------------------

    def _close_replaced(self, names: Mapping[str, Any]) -> None:
        now = {
            name: value
            for name, value in list(names.items())
            if isinstance(value, Handle) and not _is_history(name)
        }
        kept = set(map(id, now.values()))
        for name, reference in self._bound.items():
            before = reference()
            is_replaced = name in now and now[name] is not before
            if before is not None and is_replaced and id(before) not in kept:
                before.close()
        self._bound = {name: weakref.ref(handle) for name, handle in now.items()}

    def _close_forgotten(self, names: Mapping[str, Any]) -> None:
        history = names.get("_oh")
        if not isinstance(history, dict):
            return
        held = [value for value in history.values() if isinstance(value, Handle)]
        for handle in open_handles():
            is_in_history = any(handle is value for value in held)
            if not is_in_history or handle.view_count:
                self._unseen_since.pop(handle, None)
                continue
            since_s = self._unseen_since.setdefault(handle, self._clock.monotonic_s())
            is_due = self._clock.monotonic_s() - since_s >= UNSEEN_S_MAX
            if is_due and self._is_forgotten(handle, names):
                handle.close()

    @staticmethod
    def _is_forgotten(handle: Handle[Any], names: Mapping[str, Any]) -> bool:
        """Whether nothing of the user's holds the handle, only IPython's history does."""
        if any(value is handle for name, value in names.items() if not _is_history(name)):
            return False
        expected = [names, names.get("_oh"), *handle.internal_referrers()]
        return all(
            isinstance(referrer, FrameType)
            or any(referrer is each for each in expected)
            or _is_shells(referrer)
            or (type(referrer) is list and not _is_users(referrer, names))
            for referrer in gc.get_referrers(handle)
        )

    # -- functions -----------------------------------------------------------------------------

    def _follow_globals(self, backend: Backend) -> None:
        for name in backend.function_names():
            handler = backend.definition(name).handler
            known = getattr(handler, "__globals__", None)
            code = getattr(handler, "__code__", None)
            if known is not self._shell.user_ns or code is None:
                continue
            now = {used: _identity(known.get(used)) for used in _names_of(code)}
            before = self._globals.get((id(backend), name))
            self._globals[id(backend), name] = now
            if before is not None and before != now:
                _local(backend).workspace.invalidate_function(name)


def _local(backend: Any) -> LocalBackend:
    local: LocalBackend = backend
    return local


def _is_history(name: str) -> bool:
    return name in _HISTORY_NAMES or (name.startswith("_") and name[1:].isdigit())


def _is_shells(referrer: object) -> bool:
    """Whether IPython itself holds it: the last result, and its copies of the names."""
    if type(referrer) is dict:
        return "_oh" in referrer
    return type(referrer).__module__.partition(".")[0] in ("IPython", "ipykernel")


def _is_users(container: Any, names: Mapping[str, Any]) -> bool:
    return any(value is container for value in names.values())


def _names_of(code: CodeType) -> Iterator[str]:
    """Global names a function's code uses, nested code included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_of(constant)


def _identity(value: object) -> object:
    """What tells that a global was rebound to something else.

    Running a cell again makes a new function object of the same code: that is no change.
    """
    wrapped = getattr(value, "__wrapped__", value)
    code = getattr(wrapped, "__code__", None)
    if isinstance(code, CodeType):
        return (code.co_code, code.co_consts, code.co_names)
    if isinstance(value, (int, float, str, bytes, bool, tuple, frozenset, type(None))):
        return (type(value), value)
    return id(value)


_installed: weakref.WeakKeyDictionary[Any, Manners] = weakref.WeakKeyDictionary()


def install(shell: Any, backend: Backend) -> None:
    """Mind `backend` in this shell."""
    manners = _installed.get(shell)
    if manners is None:
        manners = _installed[shell] = Manners(shell)
    manners.add(backend)
