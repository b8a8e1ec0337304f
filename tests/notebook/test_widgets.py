"""The widget without a browser: a comm that keeps what is sent, messages as a page sends them."""

from __future__ import annotations

import gc
import hashlib
import threading
import weakref
from types import SimpleNamespace

import pyarrow as pa
import pytest

from livedb.clock import ManualClock
from livedb.notebook.formats import column
from livedb.notebook.page_widget import STATIC
from livedb.notebook.publisher import Publisher
from livedb.notebook.widgets import LiveTable
from tests.notebook.memory_source import MemorySource

BUNDLE_BYTES_MAX = 60 * 1024
"""What a page has to load before it shows anything, minified."""


class FakeComm:
    """An open comm; `messages` are the custom ones, `states` the trait updates."""

    comm_id, kernel = "comm", "kernel"

    def __init__(self) -> None:
        self.messages: list[SimpleNamespace] = []
        self.states: list[dict[str, object]] = []
        self.arrived = threading.Condition()
        self._reply_subshell_for = "ipykernel's own route"

    def on_msg(self, callback):
        self.receive = callback

    def send(self, data, metadata=None, buffers=None):
        with self.arrived:
            if data["method"] == "custom":
                self.messages.append(SimpleNamespace(**data["content"], data_buffers=buffers or []))
            else:
                self.states.append(data["state"])
            self.arrived.notify_all()

    def close(self, *args, **kwargs): ...

    def wait_for(self, kind, count=1):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.of(kind)) >= count, 5)
        return self.of(kind)[count - 1]

    def of(self, kind):
        return [each for each in self.messages if each.kind == kind]


@pytest.fixture
def comm(monkeypatch):
    fake = FakeComm()
    monkeypatch.setattr("comm.create_comm", lambda **options: fake)
    return fake


@pytest.fixture
def made(comm):
    """`made(documents) -> (source, table)`, with a publisher of their own."""
    tables = []
    with Publisher() as publisher:

        def make(documents=({"_id": "a", "n": 1},), *, formats=None, **options):
            source = MemorySource(documents)
            source.formats = formats or {}
            table = LiveTable(source, **{"publisher": publisher} | options)
            source.notify = table.notify
            tables.append(table)
            return source, table

        yield make
        for table in tables:
            table.close()


def idle_publisher():
    """One without a thread, so that only the test looks at the clock."""
    publisher = Publisher()
    publisher.close()
    return publisher


def send(comm, **content):
    """A message as it comes from a page."""
    message = {"realm": "page"} | content
    comm.receive({"content": {"data": {"method": "custom", "content": message}}, "buffers": []})


def ask(comm, **content):
    send(comm, kind="rows", **{"id": 1, "view": "v", "start": 0, "stop": 50} | content)


def rows_in(buffer):
    return pa.ipc.open_stream(buffer).read_all().to_pylist()


def test_a_page_gets_the_rows_that_it_asks_for(comm, made):
    made([{"_id": f"k{n}", "n": n} for n in range(100)])
    ask(comm, id=7, start=98, stop=200)
    reply = comm.wait_for("reply")
    assert (reply.id, reply.start, reply.rows, reply.row_count) == (7, 98, 2, 100)
    assert reply.columns == [["_id", "id"], ["n", "integer"]]
    assert rows_in(reply.data_buffers[0]) == [{"0": "k98", "1": 98}, {"0": "k99", "1": 99}]


def test_a_request_is_answered_on_the_thread_it_came_on_while_others_are_busy(comm, made):
    _, table = made()
    with table._publisher._condition:  # the publisher cannot move
        ask(comm)
        assert comm.of("reply")


def test_a_commit_reaches_the_open_view_without_the_event_loop(comm, made):
    source, table = made()
    ask(comm)
    source.commit({"a": {"n": 2}})
    batch = comm.wait_for("batch")
    (entry,) = batch.entries
    assert entry["address"] == table.address
    assert (entry["number"], entry["sequence"]) == (2, 1)
    assert batch.entries[0]["views"][0]["cells"] == [["a"], [2]]


def test_an_error_travels_with_the_last_good_rows(comm, made):
    source, _ = made()
    ask(comm)
    source.fail("ValueError: no")
    entry = comm.wait_for("batch").entries[0]
    assert (entry["error"], entry["row_count"]) == ("ValueError: no", 1)


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "rows"},
        {"kind": "rows", "view": "v", "start": "0", "stop": 10},
        {"kind": "rows", "view": "v", "start": True, "stop": 10},
        {"kind": "rows", "view": "v" * 1_000, "start": 0, "stop": 10},
        {"kind": "rows", "view": "v", "start": 0.5, "stop": 10},
        {"kind": "drop table"},
        {"kind": None},
        {"kind": "acknowledge", "batch": "all"},
        {"kind": "rows", "realm": 5},
    ],
    ids=str,
)
def test_a_wrong_message_fails_only_itself(comm, made, content):
    made()
    send(comm, id=3, **content)
    assert comm.wait_for("reply").failed
    ask(comm, id=4)
    assert comm.wait_for("reply", 2).rows == 1


def test_a_source_that_fails_answers_with_its_message(comm, made):
    source, _ = made()
    source.current = lambda: 1 // 0
    ask(comm)
    assert "division" in comm.wait_for("reply").failed


def test_a_closed_view_gets_nothing_more(comm, made):
    source, table = made()
    ask(comm)
    assert table.view_count == 1
    send(comm, kind="close", view="v")
    assert table.view_count == 0
    source.commit({"a": {"n": 2}})
    assert table.take_update(source.current()) is None


def test_a_closed_table_says_so_and_ignores_further_changes(comm, made):
    source, table = made()
    ask(comm)
    table.close()
    assert comm.of("closed")
    source.commit({"a": {"n": 2}})
    table.close()


def test_a_closed_table_is_forgotten_with_its_layout(comm):
    """anywidget kept every widget whose module it had read from a file."""
    table = LiveTable(MemorySource(), publisher=idle_publisher())
    layout = table.layout
    made = weakref.ref(table)
    table.close()
    assert layout.comm is None
    del table, comm.receive
    gc.collect()
    assert made() is None


def test_a_table_that_follows_another_result_shows_it_in_the_views_that_are_open(comm, made):
    _, table = made()
    ask(comm)
    table.follow(MemorySource([{"_id": "b", "n": 5}, {"_id": "c", "n": 6}], title="other()"))
    batch = comm.wait_for("batch")
    (entry,) = batch.entries
    assert (entry["title"], entry["row_count"]) == ("other()", 2)
    assert entry["views"][0]["cells"] == [["b", "c"], [5, 6]]


def test_a_row_added_to_a_short_table_comes_with_the_update(comm, made):
    source, _ = made()
    ask(comm)
    source.commit({"b": {"n": 2}})
    batch = comm.wait_for("batch")
    assert batch.entries[0]["views"][0]["runs"] == [(0, 1), (-1, 1)]
    assert batch.entries[0]["views"][0]["cells"] == [["b"], [2]]


def test_the_stored_first_page_follows_after_a_pause(comm, made):
    clock = ManualClock()
    source, table = made(clock=clock, publisher=idle_publisher())
    assert rows_in(table.first_page["arrow"]) == [{"0": "a", "1": 1}]
    source.commit({"a": {"n": 2}})
    assert table.settle(clock.monotonic_s()) == pytest.approx(clock.monotonic_s() + 1)
    clock.advance(1.5)
    assert table.settle(clock.monotonic_s()) is None
    assert rows_in(table.first_page["arrow"]) == [{"0": "a", "1": 2}]
    assert table.first_page["keys"] == ["a"]


def test_the_stored_first_page_follows_even_if_changes_never_pause(comm, made):
    clock = ManualClock()
    source, table = made(clock=clock, publisher=idle_publisher())
    for turn in range(30):
        source.commit({"a": {"n": turn}})
        clock.advance(0.5)
        table.settle(clock.monotonic_s())
    assert rows_in(table.first_page["arrow"])[0]["1"] >= 18


def test_an_output_has_the_rows_and_the_address_of_the_table_but_no_view_to_lose(comm, made):
    """A widget view in an output says "model not found" once the kernel is another."""
    _, table = made([{"_id": "a", "n": "<script>"}])
    data, _ = table._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"}
    assert f"livedb-at-{table.address}" in data["text/html"]
    assert "&lt;script&gt;" in data["text/html"]
    assert "<script>" in data["text/plain"]


def test_a_host_that_draws_only_widget_views_gets_one(comm, made, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/ana/a.ipynb-jvsc-1b9d6bcd")
    _, table = made()
    data, _ = table._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == "comm"
    assert "text/html" in data


def test_hostile_rows_travel(comm, made):
    made(
        [
            {
                "_id": "a",
                "t": "</script>\u202e",
                "b": b"\xff",
                "x": float("nan"),
                "j": [{"k": None}],
            },
            {"_id": "b", "t": "x" * 1_000_000, "b": None, "x": None, "j": None},
        ]
    )
    ask(comm)
    first, second = rows_in(comm.wait_for("reply").data_buffers[0])
    assert first["1"] == "</script>\u202e"
    assert first["2"] == "0xff"
    assert len(second["1"]) == 1_000


def test_pages_get_the_module_that_a_reader_works_the_table_with(made, comm):
    _source, table = made()
    send(comm, kind="part", id=4, name="desk")
    [answer] = comm.of("part")
    [module] = answer.data_buffers
    assert answer.id == 4
    assert b"export{" in bytes(module)
    assert table.desk == hashlib.blake2b(bytes(module), digest_size=8).hexdigest()


def test_the_module_of_formats_comes_with_the_tables_that_have_some(made, comm):
    source, table = made()
    assert table.looks == ""
    source.formats = {"n": column.plain(label="N")}
    table.follow(source)
    assert table.looks == ""
    source.formats = {"n": column.number(".1f")}
    table.follow(source)
    assert "export{" in table.looks
    ask(comm)
    assert comm.wait_for("reply").columns[1][2]["look"]["type"] == "number"
    _, other = made(formats=source.formats)
    assert other.looks == table.looks


def test_no_bundle_is_larger_than_its_budget():
    sizes = {path.name: path.stat().st_size for path in STATIC.glob("*.js")}
    bundles = {"widget.js", "table.js", "desk.js", "explorer.js", "form.js", "looks.js"}
    assert set(sizes) == bundles
    assert [each for each in sizes.items() if each[1] > BUNDLE_BYTES_MAX] == []


def test_rows_are_selected_by_their_keys_or_by_a_range_of_the_view(made, comm):
    source, _table = made([{"_id": key, "n": n} for n, key in enumerate("abcd")])
    ask(comm, arrangement={"sorts": [[1, True]], "filters": [], "search": ""})
    send(comm, kind="select", id=7, view="v", start=0, stop=2)
    assert (comm.wait_for("selected").keys, source.selected) == (["d", "c"], ["d", "c"])
    send(comm, kind="select", id=8, view="v", keys=["a"])
    assert source.selected == ["a"]


def test_a_page_gets_a_file_of_its_view_in_parts(made, comm, monkeypatch):
    monkeypatch.setattr("livedb.notebook.downloads.PART_BYTES", 4)
    made([{"_id": key, "n": n} for n, key in enumerate("abc")])
    ask(comm, arrangement={"sorts": [[1, True]], "filters": [], "search": ""})
    wanted = {"kind": "export", "view": "v", "format": "csv", "columns": [1]}
    send(comm, id=7, selected=False, **wanted)
    parts = [comm.wait_for("file", count) for count in (1, 2)]
    assert [(each.name, each.part, each.parts) for each in parts] == [
        ("memory.csv", 0, 2),
        ("memory.csv", 1, 2),
    ]
    assert b"".join(each.data_buffers[0] for each in parts) == b"n\n2\n1\n0\n"
    send(comm, kind="select", id=8, view="v", keys=["b", "gone"])
    send(comm, id=9, selected=True, **wanted)
    assert comm.wait_for("file", 3).data_buffers == [b"n\n1\n"]


def test_a_file_that_cannot_be_made_says_why(made, comm, monkeypatch):
    monkeypatch.setattr("livedb.notebook.downloads.DOWNLOAD_BYTES_MAX", 1)
    made()
    send(comm, kind="export", id=7, view="v", format="csv", columns=[0, 1], selected=False)
    assert "write the file in a cell" in comm.wait_for("file").failed


def test_tables_of_one_page_are_of_one_commit_in_every_batch(comm, db):
    """Followers hear of a commit one after the other, and a batch leaves at the first."""
    with Publisher() as publisher:
        db["items"].insert({"n": 0})
        statements = ["SELECT count(*) AS c FROM items", "SELECT max(n) AS m FROM items"]
        handles = [db["items"].live(), *(db.sql(text).live() for text in statements)]
        for at, handle in enumerate(handles):
            handle._widgets = (LiveTable(handle, publisher=publisher),)
            handle.widget._feed.open_window(f"v{at}", "page", 0, 500, now_s=0.0)
            handle.observe(lambda _: comm.wait_for("batch"))  # nobody else hears before it left
        db["items"].insert({"n": 1})
        comm.wait_for("batch")
        for n in range(2, 100):
            db["items"].insert({"n": n})
        newest = handles[0].version
        with comm.arrived:
            assert comm.arrived.wait_for(
                lambda: comm.of("batch")[-1].entries[0].get("number") == newest, 20
            )
        for batch in comm.of("batch"):
            updates = [each for each in batch.entries if "beat" not in each]
            assert len(updates) in (0, len(handles))
            assert len({each["number"] for each in updates}) <= 1
        for handle in handles:
            handle.close()
