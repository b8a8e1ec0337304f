"""The live table as an anywidget: a thin shell that joins a feed, the publisher and the comm.

Three objects and their lives: the `RowSource` (a handle; lives as long as the user wants), its one
`LiveTable` (a comm to every page of the kernel; closed with the handle), and the views that pages
open and close on it as they like (`TableFeed`).

Messages from a page arrive on the kernel's main thread or, in JupyterLab >= 4.4 with ipykernel
>= 7, on a subshell's thread beside a running cell. They are answered on that thread from the newest
published state; nothing here waits for the publisher, the turn or the event loop.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import traitlets

from livedb.clock import Clock, SystemClock
from livedb.errors import LivedbError, NonexistentDocumentError
from livedb.notebook.arrangement import read_arrangement
from livedb.notebook.display import STATIC_ROWS_MAX, html_of_table, text_of_table
from livedb.notebook.downloads import PageFile, file_of, name_of, page_file, read_format
from livedb.notebook.editing import ENTRY_CHARACTERS_MAX, Outcome, TableEditor
from livedb.notebook.feed import Message, TableFeed, first_page_of
from livedb.notebook.formats import ColumnFormat
from livedb.notebook.hosts import draws_only_widget_views, reruns_cells_of_widgets
from livedb.notebook.page_widget import STATIC, PageWidget
from livedb.notebook.profiling import COLUMNS_MAX, Profiler, TableProfiles, kernel_profiler
from livedb.notebook.publisher import Publisher, kernel_publisher
from livedb.notebook.rows import RowSource, RowState, state_of_value
from livedb.notebook.selection import SELECTED_MAX

DESK = STATIC / "desk.js"
"""What a reader works a table with (widgets/src/view/desk.ts)."""

LOOKS = STATIC / "looks.js"
"""What draws columns that have formats (widgets/src/view/looks.ts)."""

FIRST_PAGE_DELAY_S = 1.0
"""Seconds without a change after which the stored first page follows."""

FIRST_PAGE_DELAY_S_MAX = 10.0
"""Seconds after which it follows although changes keep coming."""

logger = logging.getLogger("livedb")


class LiveTable(PageWidget):
    """A table on screen that follows `source` and stays true while cells run.

    Wire messages are listed in `widgets/src/model/messages.ts`, which mirrors this class.
    """

    desk = traitlets.Unicode().tag(sync=True)
    """Which module pages load for all their tables once the first rows are shown: a digest."""

    looks = traitlets.Unicode().tag(sync=True)
    """The module that draws columns with formats; "" as long as there are none."""

    editable = traitlets.Bool().tag(sync=True)
    """Whether what it shows can be edited in place."""

    first_page = traitlets.Dict().tag(sync=True, echo_update=False)
    """The first rows, kept in the widget's state: what a page shows that finds no kernel."""

    version = traitlets.Int().tag(sync=True)
    """The commit that a page shows; told where `tells_version` asks for it."""

    tells_version = traitlets.Bool().tag(sync=True)
    """Whether pages tell it: where cells that use a table run again, when it does."""

    def __init__(
        self,
        source: RowSource,
        *,
        publisher: Publisher | None = None,
        profiler: Profiler | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._feed = TableFeed(source)
        self._profiles = TableProfiles(self._feed)
        self._profiler = profiler or kernel_profiler()
        self._clock = clock or SystemClock()
        self._publisher = publisher or kernel_publisher()
        self._selected: tuple[str, ...] = ()
        self._due_lock = threading.Lock()  # guards the two times below; innermost
        self._quiet_s: float | None = None
        self._latest_s: float | None = None
        super().__init__(
            "table",
            address=self._clock.random_bytes(8).hex(),
            desk=hashlib.blake2b(DESK.read_bytes(), digest_size=8).hexdigest(),
            looks=_looks_for(source.current()),
            editable=source.editor is not None,
            version=source.current().number,
            tells_version=reruns_cells_of_widgets(),
            first_page=first_page_of(self.source, STATIC_ROWS_MAX),
        )
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

    def notify(self) -> None:
        """Say that the source changed; any thread, returns at once.

        However many changes come, pages get the newest state at most 30 times a second.
        """
        now_s = self._clock.monotonic_s()
        with self._due_lock:
            self._quiet_s = now_s + FIRST_PAGE_DELAY_S
            self._latest_s = self._latest_s or now_s + FIRST_PAGE_DELAY_S_MAX
        self._publisher.publish(self.address)
        if self._profiles.is_wanted:
            self._profiler.note_change(self)

    def follow(self, source: RowSource) -> None:
        """Show another result from now on, in the views that are open."""
        self._feed.source = source
        self.looks = self.looks or _looks_for(source.current())
        self.notify()

    def close(self, *, ended: str = "This table was closed.") -> None:
        """Stop following; pages keep the rows they hold and say why they are no longer live."""
        if self.comm is not None:
            self._publisher.leave(self.address)
            self._profiler.leave(self.address)
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

    def gather(self, members: Sequence[LiveTable]) -> Sequence[tuple[LiveTable, RowState]]:
        """What it and some of `members` show, at one newest commit."""
        sources = [(each, each.source) for each in members]
        states = self.source.gather([source for _, source in sources])
        by_source = {id(source): state for source, state in states}
        return [
            (each, by_source[id(source)]) for each, source in sources if id(source) in by_source
        ]

    def realms(self) -> frozenset[str]:
        """The pages that show this table."""
        return self._feed.realms()

    def take_update(self, state: RowState) -> Message | None:
        """A state for every open view, if there is news."""
        return self._feed.take_update(state)

    def beat(self) -> Message:
        """A sign of life."""
        return self._feed.beat()

    def send_batch(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        """Send a batch over this table's comm; a closed table drops it."""
        if self.comm is not None:
            self.send(content, buffers)

    def send_profiles(self) -> None:
        """Tell pages what the heads of their columns say now (profiling.Profiled)."""
        for message in self._profiles.messages():
            if self.comm is not None:
                self.send(message)

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
            case "edit":
                # A commit may take its time, on a service far away: the kernel's thread goes on.
                work = functools.partial(self._edit, request)
                threading.Thread(target=work, name="livedb-edit", daemon=True).start()
            case "select":
                self._select(request)
            case "export":
                # Sorting and writing all rows takes its time: the kernel's thread goes on.
                work = functools.partial(self._send_file, request, self._rows_file)
                threading.Thread(target=work, name="livedb-export", daemon=True).start()
            case "stored":
                # It may be large, and on a service far away: the kernel's thread goes on.
                work = functools.partial(self._send_file, request, self._stored_file)
                threading.Thread(target=work, name="livedb-export", daemon=True).start()
            case "reference":
                # A document may be read from a service far away: the kernel's thread goes on.
                work = functools.partial(self._refer, request)
                threading.Thread(target=work, name="livedb-refer", daemon=True).start()
            case "part":
                self.send({"kind": "part", "id": request.whole("id")}, [DESK.read_bytes()])
            case "acknowledge":
                self._publisher.acknowledge(request.realm, request.whole("batch"))
            case "profiles":
                self._profiles.want(request.text("view"), request.positions("columns"))
                self._profiler.ask(self)
            case "close":
                self._feed.close_view(request.text("view"))
                self._profiles.close_view(request.text("view"))
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
            request=request.whole("id"),
        )
        self.send({"kind": "reply", "id": request.whole("id")} | reply.content, reply.buffers)
        if self._profiles.is_wanted:  # the view may be arranged otherwise now
            self._profiler.ask(self)

    def _select(self, request: _Request) -> None:
        if request.has("start"):
            start, stop = request.whole("start"), request.whole("stop")
            stop = min(stop, start + SELECTED_MAX)
            keys = self._feed.keys_in(request.text("view"), start, stop)
        else:
            keys = request.texts("keys", SELECTED_MAX)
        self._selected = tuple(keys)
        cell = request.cell()
        names = self.source.shown().window(0, 0).column_names
        is_known = cell is not None and cell[1] < len(names)
        self.source.select(keys, (cell[0], names[cell[1]]) if cell and is_known else None)
        self.send({"kind": "selected", "id": request.whole("id"), "keys": keys})

    def _send_file(self, request: _Request, make: Callable[[_Request], PageFile]) -> None:
        """Send a file in parts, or why there is none."""
        answer = {"kind": "file", "id": request.whole("id")}
        try:
            file = make(request)
            told = answer | {"name": file.name, "parts": file.part_count}
            for at, part in enumerate(file.parts):
                self._send_open(told | {"part": at}, [part])
        except Exception as error:  # this thread's last frame: log it and tell the page
            if not isinstance(error, LivedbError):
                logger.exception("livedb: a file for a page failed")
            self._send_open(answer | {"failed": str(error)})

    def _rows_file(self, request: _Request) -> PageFile:
        """The rows as a view arranges them."""
        rows, key = self._feed.rows_in(request.text("view"))
        if request.flag("selected") and key is not None:
            rows = rows.filter(pc.is_in(rows[key], pa.array(self._selected, pa.string())))
        columns = [at for at in request.positions("columns", None) if at < rows.num_columns]
        chosen = read_format(request.text("format"))
        content = file_of(rows.select(columns), chosen)
        return page_file(name_of(self.source.title, chosen), content)

    def _stored_file(self, request: _Request) -> PageFile:
        """A file of the workspace that a cell names."""
        return self.source.file(request.long("file"), is_picture=request.flag("picture"))

    def _refer(self, request: _Request) -> None:
        """Tell a page of the document that an id names."""
        try:
            found = self.source.reference(request.text("key"))
        except LivedbError:  # the workspace is closed, or away
            found = None
        content = {"table": None, "fields": None} if found is None else found.to_content()
        self._send_open({"kind": "reference", "id": request.whole("id")} | content)

    def _send_open(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        if self.comm is not None:
            self.send(content, buffers)

    def _edit(self, request: _Request) -> None:
        """Do a step of an edit, and say what became of it."""
        try:
            outcome = _step_of_edit(self.source.editor, request)
        except Exception as error:  # this thread's last frame: log it and tell the page
            logger.exception("livedb: an edit of a table on screen failed")
            outcome = Outcome(state="refused", problem=str(error))
        if self.comm is not None:
            number = self.source.current().number
            answer = {"kind": "outcome", "id": request.whole("id"), "number": number}
            self.send(answer | outcome.to_content())


def _step_of_edit(editor: TableEditor | None, request: _Request) -> Outcome:
    if editor is None:
        problem = "Only db[...].live() is edited in place; this is a result of a query."
        return Outcome(state="refused", problem=problem)
    match request.text("step"):
        case "open":
            return editor.open(request.text("edit"), request.text("key"), request.long("field"))
        case "check":
            return editor.check(request.text("edit"), request.long("text"))
        case "commit":
            text = None if request.flag("clears") else request.long("text")
            return editor.commit(request.text("edit"), text, overwrites=request.flag("overwrites"))
        case "cancel":
            return editor.cancel(request.text("edit"))
        case "judge":
            return editor.judge(request.long("field"), request.long("text"))
        case "insert":
            return editor.insert(request.entries("texts"))
        case "delete":
            return editor.delete(request.texts("keys", SELECTED_MAX))
        case "undo":
            return editor.undo()
        case "redo":
            return editor.redo()
        case step:
            raise ValueError(f"an edit has no step {step!r}")


def _looks_for(state: RowState) -> str:
    return LOOKS.read_text(encoding="utf-8") if any(map(_has_look, state.formats.values())) else ""


def _has_look(written: ColumnFormat) -> bool:
    return written.look is not None


class _NoSource:
    """What a closed table follows."""

    editor = None

    def __init__(self, title: str) -> None:
        self.title = title

    def select(self, keys: Sequence[str], cell: tuple[str, str] | None) -> None:
        """Nobody reads it any more."""

    def file(self, name: str, *, is_picture: bool) -> PageFile:  # noqa: ARG002 - as every source
        raise NonexistentDocumentError("This table is closed, and reads no files any more.")

    def reference(self, key: str) -> None:  # RowSource's signature
        """Its workspace may be gone."""

    def gather(
        self,
        sources: Sequence[RowSource],  # noqa: ARG002 - RowSource's signature
    ) -> Sequence[tuple[RowSource, RowState]]:
        return [(self, self.current())]

    def current(self) -> RowState:
        return state_of_value([], number=0)

    shown = current


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

    def long(self, name: str) -> str:
        """The field `name`, which must be text."""
        value = self._content.get(name)
        if not isinstance(value, str) or len(value) > ENTRY_CHARACTERS_MAX:
            raise ValueError(f"a page's message must have text in {name!r}")
        return value

    def flag(self, name: str) -> bool:
        """The field `name`, which is false if it is left out."""
        return self._content.get(name) is True

    def whole(self, name: str) -> int:
        """The field `name`, which must be a whole number."""
        value = self._content.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"a page's message must have a whole number in {name!r}")
        return value

    def has(self, name: str) -> bool:
        """Whether there is a field `name`."""
        return name in self._content

    def positions(self, name: str, most: int | None = COLUMNS_MAX) -> tuple[int, ...]:
        """The field `name`, which must be a list of at most so many positions of columns."""
        value: Any = self._content.get(name)
        is_list = isinstance(value, list) and (most is None or len(value) <= most)
        if not is_list or any(type(each) is not int or each < 0 for each in value):
            raise ValueError(
                f"a page's message must have a list of positions in {name!r}, at most {most}"
            )
        return tuple(value)

    def cell(self) -> tuple[str, int] | None:
        """The field `cell`: the key of a row and the position of a column, or null."""
        value: Any = self._content.get("cell")
        if value is None:
            return None
        is_pair = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
        if not is_pair or type(value[1]) is not int or value[1] < 0:
            raise ValueError("a page's message must have a row's key and a position in 'cell'")
        return value[0], value[1]

    def entries(self, name: str) -> dict[str, str]:
        """The field `name`, which must be texts by the names of fields."""
        value: Any = self._content.get(name)
        is_dict = isinstance(value, dict) and len(value) <= COLUMNS_MAX
        if not is_dict or any(not isinstance(each, str) for each in value.values()):
            raise ValueError(f"a page's message must have at most {COLUMNS_MAX} texts in {name!r}")
        return dict(value)

    def texts(self, name: str, most: int) -> list[str]:
        """The field `name`, which must be a list of at most so many texts."""
        value: Any = self._content.get(name)
        is_list = isinstance(value, list) and len(value) <= most
        if not is_list or any(not isinstance(each, str) for each in value):
            raise ValueError(f"a page's message must have at most {most} texts in {name!r}")
        return list(value)
