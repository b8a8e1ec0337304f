"""`db` on screen: its tables, functions, live results and newest commits, which open by a click.

The page asks for what is new once a second, as long as it is in sight
(`widgets/src/view/explorer.ts`): so nothing runs for an explorer that nobody looks at, and however
fast commits come, they are counted once a second. What is opened is a live table, a form, or what a
commit changed.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from livedb.client.functions import Action, Mutation, Query
from livedb.clock import SystemClock
from livedb.errors import LivedbError
from livedb.notebook.commit_changes import lines_of_changes
from livedb.notebook.forms import Form, QueryForm
from livedb.notebook.handles import Handle, open_handles
from livedb.notebook.hosts import draws_only_widget_views
from livedb.notebook.overview import overview_of, state_of
from livedb.notebook.page_widget import PageWidget

if TYPE_CHECKING:
    from livedb.client.database import Database

OPENED_MAX = 16
"""Live tables and forms that one explorer holds open; the oldest is closed for a new one."""

_ARTICLES = {"query": "a query", "mutation": "a mutation", "action": "an action"}

_CLOCK = SystemClock()

logger = logging.getLogger("livedb")


class Explorer(PageWidget):
    """A workspace on screen. Lives as long as the kernel; it does not keep its `db` alive.

    Wire messages are listed in `widgets/src/model/explorer.ts`, which mirrors this class.
    """

    def __init__(self, database: Database) -> None:
        self._database = weakref.ref(database)
        self._looking = threading.Lock()
        """Held by the one thread that looks."""
        self._opened: OrderedDict[str, Handle[Any] | Form] = OrderedDict()
        """By address: what was made for a page, and is closed when the page closes it."""
        super().__init__("explorer", address=_CLOCK.random_bytes(8).hex())
        self.on_msg(self._receive)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The workspace as HTML, which a page with a kernel makes the explorer of, and as text."""
        bundle = super()._repr_mimebundle_(**kwargs) if draws_only_widget_views() else None
        data, metadata = bundle or ({}, {})
        database = self._require_database()
        data |= overview_of(database, _handles_of(database), address=self.address)
        return data, metadata

    def __repr__(self) -> str:
        return "<a workspace on screen>"

    def _require_database(self) -> Database:
        database = self._database()
        if database is None:
            raise LivedbError("Nobody holds this db any more")
        return database

    # -- what pages send -----------------------------------------------------------------------

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Begin to answer a message of a page, on a thread: a service may be far away."""
        if isinstance(content, dict):
            threading.Thread(
                target=self._answer, args=(content,), name="livedb-explorer", daemon=True
            ).start()

    def _answer(self, content: Mapping[str, Any]) -> None:
        try:
            answer = self._do(content)
        except LivedbError as error:
            answer = {"kind": "failed", "message": error.message}
        except Exception as error:  # this thread's last frame: log it and tell the page
            logger.exception("livedb: a page's message to an explorer failed")
            answer = {"kind": "failed", "message": f"{type(error).__name__}: {error}"}
        if self.comm is not None:
            self.send({"id": content.get("id")} | answer)

    def _do(self, content: Mapping[str, Any]) -> dict[str, Any]:
        match content.get("kind"):
            case "look":
                return self._look()
            case "open":
                return self._open(str(content["what"]), str(content["name"]))
            case "close":
                self._let_go(str(content["address"]))
                return {"kind": "closed"}
            case kind:
                raise ValueError(f"an explorer knows no message of kind {kind!r}")

    def _look(self) -> dict[str, Any]:
        database = self._require_database()
        with self._looking:
            return {"kind": "state", "state": state_of(database, _handles_of(database))}

    def _open(self, what: str, name: str) -> dict[str, Any]:
        database = self._require_database()
        match what:
            case "table":
                return self._shown(database[name].live())
            case "query":
                return self._shown(self._function(name, Query).live())
            case "arguments":
                return self._shown(QueryForm(self._function(name, Query)))
            case "form":
                return self._shown(Form(self._function(name, Mutation, Action)))
            case "commit":
                changes = database.backend.commit_changes(int(name))
                return {"kind": "changes", "changes": lines_of_changes(changes)}
            case "handle":
                for handle in _handles_of(database):
                    if str(id(handle)) == name:
                        return {"kind": "opened", "address": handle.widget.address}
                raise LivedbError("This live result is closed")
            case _:
                raise ValueError(f"an explorer opens no {what!r}")

    def _function(self, name: str, *kinds: type[Any]) -> Any:
        function: Any = self._require_database().function(name)
        if not isinstance(function, kinds):
            raise LivedbError(f"{name} was defined anew, as {_ARTICLES[function.definition.kind]}")
        return function

    def _shown(self, part: Handle[Any] | Form) -> dict[str, Any]:
        address = part.widget.address if isinstance(part, Handle) else part.address
        self._opened[address] = part
        while len(self._opened) > OPENED_MAX:
            self._let_go(next(iter(self._opened)))
        return {"kind": "opened", "address": address}

    def _let_go(self, address: str) -> None:
        part = self._opened.pop(address, None)
        if part is not None:
            part.close()


_explorers: weakref.WeakKeyDictionary[Database, Explorer] = weakref.WeakKeyDictionary()


def explorer_of(database: Database) -> Explorer:
    """The one explorer of a `db`."""
    known = _explorers.get(database)
    if known is None or known.comm is None:
        known = _explorers[database] = Explorer(database)
    return known


def displayed(database: Database) -> Any:
    """What is displayed of a `db`: the mime bundle, with its metadata if there are any."""
    if database.status.state == "closed":
        return overview_of(database, ())
    bundle = explorer_of(database)._repr_mimebundle_()  # as IPython does
    assert bundle is not None, "an explorer has HTML for every host"
    data, metadata = bundle
    return (data, metadata) if metadata else data


def _handles_of(database: Database) -> list[Handle[Any]]:
    return [each for each in open_handles() if each._backend is database.backend]  # noqa: SLF001
