"""The live table as an anywidget: a thin shell that joins a feed, the publisher and the comm.

Three objects and their lives: the `RowSource` (a handle; lives as long as the user wants), its one
`LiveTable` (a comm to every page of the kernel; closed with the handle), and the views that pages
open and close on it as they like (`TableFeed`).

Messages from a page arrive on the kernel's main thread or, in JupyterLab >= 4.4 with ipykernel
>= 7, on a subshell's thread beside a running cell. They are answered on that thread from the newest
published state; nothing here waits for the publisher, the turn or the event loop.
"""

from __future__ import annotations

import logging
import pathlib
import threading
from typing import Any

import anywidget
import traitlets

from livedb.clock import Clock, SystemClock
from livedb.notebook.arrangement import read_arrangement
from livedb.notebook.display import STATIC_ROWS_MAX, html_of_table, text_of_table
from livedb.notebook.feed import Message, TableFeed, first_page_of
from livedb.notebook.hosts import draws_only_widget_views, let_pages_choose_the_subshell
from livedb.notebook.publisher import Publisher, kernel_publisher
from livedb.notebook.rows import RowChange, RowSource, RowState, state_of_value

STATIC = pathlib.Path(__file__).parent / "static"

FIRST_PAGE_DELAY_S = 1.0
"""Seconds without a change after which the stored first page follows."""

FIRST_PAGE_DELAY_S_MAX = 10.0
"""Seconds after which it follows although changes keep coming."""

logger = logging.getLogger("livedb")


class LiveTable(anywidget.AnyWidget):
    """A table on screen that follows `source` and stays true while cells run.

    Wire messages are listed in `widgets/src/model/messages.ts`, which mirrors this class.
    """

    _esm = STATIC / "table.js"
    _css = STATIC / "table.css"

    address = traitlets.Unicode().tag(sync=True)
    """The name by which pages and the publisher tell tables apart."""

    first_page = traitlets.Dict().tag(sync=True, echo_update=False)
    """The first rows, kept in the widget's state: what a page shows that finds no kernel."""

    def __init__(
        self,
        source: RowSource,
        *,
        publisher: Publisher | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._feed = TableFeed(source)
        self._clock = clock or SystemClock()
        self._publisher = publisher or kernel_publisher()
        self._due_lock = threading.Lock()  # guards the two times below; innermost
        self._quiet_s: float | None = None
        self._latest_s: float | None = None
        super().__init__(
            address=self._clock.random_bytes(8).hex(),
            first_page=first_page_of(self.source, STATIC_ROWS_MAX),
        )
        let_pages_choose_the_subshell(self.comm)
        self.on_msg(self._receive)
        self._publisher.join(self)

    @property
    def source(self) -> RowSource:
        """What this table shows."""
        return self._feed.source

    @property
    def view_count(self) -> int:
        """How many views of it are open on pages, as far as is known."""
        return self._feed.view_count

    def notify(self, change: RowChange) -> None:
        """Say that the source changed; any thread, returns at once.

        However many changes come, pages get the newest state at most 30 times a second.
        """
        self._feed.add_change(change)
        now_s = self._clock.monotonic_s()
        with self._due_lock:
            self._quiet_s = now_s + FIRST_PAGE_DELAY_S
            self._latest_s = self._latest_s or now_s + FIRST_PAGE_DELAY_S_MAX
        self._publisher.publish(self.address)

    def follow(self, source: RowSource) -> None:
        """Show another result from now on, in the views that are open."""
        self._feed.source = source
        self.notify(RowChange(number=source.current().number))

    def close(self, *, ended: str = "This table was closed.") -> None:
        """Stop following; pages keep the rows they hold and say why they are no longer live."""
        if self.comm is not None:
            self._publisher.leave(self.address)
            self.send({"kind": "closed", "ended": ended})
        super().close()
        # A widget is a cycle of references: until it is collected it must not hold its source.
        self._feed.source = _NoSource(self.source.title)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The rows as HTML, which a page with a kernel replaces by the live table, and as text."""
        bundle = super()._repr_mimebundle_(**kwargs) if draws_only_widget_views() else None
        data, metadata = bundle or ({}, {})
        title, state = self.source.title, self.source.current()
        data["text/plain"] = text_of_table(title, state)
        data["text/html"] = html_of_table(title, state, address=self.address)
        return data, metadata

    def __repr__(self) -> str:
        return f"<table on screen of {self.source.title}>"

    # What the publisher calls (publisher.Member).

    def realms(self) -> frozenset[str]:
        """The pages that show this table."""
        return self._feed.realms()

    def take_update(self) -> Message | None:
        """The newest state for every open view, if there is news."""
        return self._feed.take_update()

    def beat(self) -> Message:
        """A sign of life."""
        return self._feed.beat()

    def send_batch(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        """Send a batch over this table's comm; a closed table drops it."""
        if self.comm is not None:
            self.send(content, buffers)

    def settle(self, now_s: float) -> float | None:
        """Store the first page when changes have paused; else say when to ask again."""
        with self._due_lock:
            if self._quiet_s is None or self._latest_s is None:
                return None
            due_s = min(self._quiet_s, self._latest_s)
            if now_s < due_s:
                return due_s
            self._quiet_s = self._latest_s = None
        self.first_page = first_page_of(self.source, STATIC_ROWS_MAX)
        return None

    # What pages send.

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Handle one message of a page; what it sends wrongly fails only itself."""
        try:
            request = _Request(content)
            self._feed.hear(request.realm, now_s=self._clock.monotonic_s())
            self._handle(request)
        except Exception as error:  # the widget callback: log it and tell the page
            logger.exception("livedb: a page's message to a table failed")
            if isinstance(content, dict) and "id" in content:
                self.send({"kind": "reply", "id": content["id"], "failed": str(error)})

    def _handle(self, request: _Request) -> None:
        match request.kind:
            case "rows":
                self._answer(request)
            case "acknowledge":
                self._publisher.acknowledge(request.realm, request.whole("batch"))
            case "close":
                self._feed.close_view(request.text("view"))
            case kind:
                raise ValueError(f"a table knows no message of kind {kind!r}")

    def _answer(self, request: _Request) -> None:
        reply = self._feed.open_window(
            request.text("view"),
            request.realm,
            request.whole("start"),
            request.whole("stop"),
            now_s=self._clock.monotonic_s(),
            arrangement=read_arrangement(request.arrangement),
        )
        self.send({"kind": "reply", "id": request.whole("id")} | reply.content, reply.buffers)


class _NoSource:
    """What a closed table follows."""

    def __init__(self, title: str) -> None:
        self.title = title

    def current(self) -> RowState:
        return state_of_value([], number=0)


class _Request:
    """A page's message, its fields checked as they are read."""

    def __init__(self, content: Any) -> None:
        if not isinstance(content, dict):
            raise TypeError(f"a page's message must be an object, not {type(content).__name__}")
        self._content = content
        self.kind = self.text("kind")
        self.realm = self.text("realm")
        self.arrangement = content.get("arrangement")

    def text(self, name: str) -> str:
        """The field `name`, which must be short text."""
        value = self._content.get(name)
        if not isinstance(value, str) or len(value) > 100:
            raise ValueError(f"a page's message must have short text in {name!r}")
        return value

    def whole(self, name: str) -> int:
        """The field `name`, which must be a whole number."""
        value = self._content.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"a page's message must have a whole number in {name!r}")
        return value
