"""The manners of a notebook, in a real kernel: what happens between and after cells."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

REPOSITORY = Path(__file__).parents[2]

SETUP = """\
import asyncio, random, threading, time, warnings
from datetime import datetime
import livedb
from livedb import Id, MutationContext, QueryContext
from livedb.notebook import manners

db = livedb.open()

@db.table("tasks")
class Task:
    title: str
    size: int = 0

@db.query
def titles(ctx: QueryContext) -> list[str]:
    return [task.title for task in ctx.db.query("tasks").collect()]

@db.query
def tasks(ctx: QueryContext) -> list[Task]:
    return ctx.db.query("tasks").collect()

@db.mutation
def add(ctx: MutationContext, title: str, size: int = 0) -> Id[Task]:
    return ctx.db.insert("tasks", {"title": title, "size": size})

def live_queries():
    return db.statistics().live["followed"]
"""


class CellError(Exception):
    """A cell raised."""


class Kernel:
    """A kernel, and a front end that runs cells in it."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client = manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str) -> list[dict]:
        """Run a cell; returns its outputs' contents."""
        self.start(code)
        return self.finish()

    def start(self, code: str) -> None:
        self._request = self.client.execute(code, stop_on_error=False)

    def finish(self) -> list[dict]:
        contents: list[dict] = []
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != self._request:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind in {"stream", "error", "display_data", "execute_result"}:
                contents.append(content)
        for content in contents:
            if "ename" in content:
                raise CellError(f"{content['ename']}: {content['evalue']}")
        return contents

    def value(self, expression: str) -> str:
        """What `expression` is, as repr."""
        return self.printed(f"print(repr({expression}))").strip()

    def printed(self, code: str, stream: str = "stdout") -> str:
        return "".join(each["text"] for each in self.run(code) if each.get("name") == stream)

    def wait_until(self, expression: str) -> None:
        deadline = time.monotonic() + 20
        while self.value(expression) != "True":
            assert time.monotonic() < deadline, f"{expression} never came true"
            time.sleep(0.02)

    def open_view(self, widget: str) -> None:
        """Do what a page does that shows the widget: ask for its first rows."""
        request = {"kind": "rows", "view": "v", "realm": "r", "start": 0, "stop": 10, "id": 1}
        self._tell(widget, request)
        self.wait_until(f"{widget}.view_count == 1")

    def close_view(self, widget: str) -> None:
        self._tell(widget, {"kind": "close", "view": "v", "realm": "r"})
        self.wait_until(f"{widget}.view_count == 0")

    def _tell(self, widget: str, content: dict) -> None:
        model = self.value(f"{widget}.model_id").strip("'")
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": model, "data": data})
        self.client.shell_channel.send(message)


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    """One kernel for all tests of this file; each begins with an empty namespace."""
    environment = os.environ | {
        "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
        ),
    }
    manager = KernelManager(kernel_name="python3")
    # Else it warns that its sockets on this machine are not encrypted.
    manager.start_kernel(env=environment, extra_arguments=["--IPKernelApp.log_level=40"])
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(manager):
    kernel = Kernel(manager)
    kernel.run(SETUP)
    yield kernel
    kernel.run("db.close()")
    kernel.run("%reset -f")
    kernel.client.stop_channels()


# -- handles --------------------------------------------------------------------------------------


def test_running_a_live_cell_again_closes_the_replaced_handle(kernel):
    kernel.run("h = titles.live()")
    kernel.run("first = __import__('weakref').ref(h); kept = [h]")
    kernel.run("h = titles.live()")
    assert kernel.value("(kept[0].is_closed, h.is_closed, live_queries())") == "(True, False, 1)"


def test_a_view_of_the_replaced_handle_shows_the_new_one(kernel):
    kernel.run("add('a'); h = titles.live()")
    kernel.run("widget = h.widget; kept = h")
    kernel.open_view("widget")
    kernel.run("del kept")
    kernel.run("h = tasks.live()")
    assert kernel.value("widget.source is h") == "True"
    assert kernel.value("(h.view_count, live_queries())") == "(1, 1)"
    kernel.run("h.close()")
    assert kernel.value("widget.comm is None") == "True"


def test_a_replaced_handle_that_nobody_sees_leaves_no_widget(kernel):
    kernel.run("h = titles.live()")
    kernel.run("widget = h.widget")
    kernel.run("h = titles.live()")
    assert kernel.value("(widget.comm is None, len(h._widgets))") == "(True, 0)"


def test_a_replaced_handle_leaves_the_history(kernel):
    for _ in range(3):
        kernel.run("h = titles.live()\nh")
    assert kernel.value("[each is h for each in Out.values()]") == "[True]"


def test_a_table_of_a_closed_workspace_says_so(kernel):
    kernel.run("other = livedb.open()\nother['t'].insert({'n': 1})\nh = other['t'].live()\nh")
    kernel.run("other.close()")
    assert "closed" in kernel.value("h.current().ended")
    (output,) = kernel.run("h")
    assert "The workspace is closed" in output["data"]["text/html"]
    assert "The workspace is closed" in kernel.value("h")


def test_a_handle_shown_and_held_by_nothing_but_its_table_is_dropped(kernel):
    kernel.run("from IPython.display import display\ndisplay(titles.live())")
    assert kernel.value("live_queries()") == "1"
    kernel.run("manners.UNSEEN_S_MAX = 0.0")
    kernel.run("import gc; gc.collect()")
    assert kernel.value("live_queries()") == "0"


def test_a_handle_with_a_second_name_is_not_replaced(kernel):
    kernel.run("h = other = titles.live()")
    kernel.run("h = tasks.live()")
    assert kernel.value("(other.is_closed, live_queries())") == "(False, 2)"


def test_deleting_the_name_of_a_handle_drops_it(kernel):
    kernel.run("h = titles.live()")
    kernel.run("del h")
    assert kernel.value("live_queries()") == "0"


def test_a_handle_that_only_the_history_holds_is_dropped_when_nobody_sees_it(kernel):
    kernel.run("titles.live()")
    kernel.run("manners.UNSEEN_S_MAX = 0.0")
    kernel.run("None")
    assert kernel.value("live_queries()") == "0"
    assert kernel.value("any('titles' in str(each) for each in Out.values())") == "False"


def test_a_handle_in_the_history_lives_while_a_view_of_it_is_open(kernel):
    kernel.run("manners.UNSEEN_S_MAX = 1e9")
    kernel.run("titles.live()")
    widget = "next(each for each in Out.values() if isinstance(each, manners.Handle)).widget"
    kernel.open_view(widget)
    kernel.run("manners.UNSEEN_S_MAX = 0.0")
    kernel.run("None")
    assert kernel.value("live_queries()") == "1"
    kernel.run("manners.UNSEEN_S_MAX = 1e9")
    kernel.close_view(widget)
    kernel.run("manners.UNSEEN_S_MAX = 0.0")
    kernel.run("None")
    assert kernel.value("live_queries()") == "0"


def test_a_handle_shown_once_and_kept_in_a_list_lives(kernel):
    kernel.run("kept = [titles.live()]\nkept[0]")
    kernel.run("manners.UNSEEN_S_MAX = 0.0")
    kernel.run("None")
    kernel.run("add('a')")
    assert kernel.value("(kept[0].is_closed, kept[0].value)") == "(False, ['a'])"


def test_a_handle_with_a_variable_stays_in_the_history(kernel):
    kernel.run("h = titles.live()\nh")
    kernel.run("manners.UNSEEN_S_MAX = 0.0")
    kernel.run("None")
    assert kernel.value("any(each is h for each in Out.values())") == "True"
    assert kernel.value("h.is_closed") == "False"


def test_a_displayed_handle_stores_at_most_fifty_rows(kernel):
    kernel.run("db['tasks'].insert([{'title': f'task {n}'} for n in range(80)])")
    (output,) = kernel.run("h = tasks.live()\nh")
    html = output["data"]["text/html"]
    assert html.count("<tr") == 51  # and the head
    assert "first 50 of 80 rows" in html
    (output,) = kernel.run("db.sql('select * from tasks')")
    assert output["data"]["text/html"].count("<tr") == 51


def test_duckdb_shows_no_progress_bar_of_its_own(kernel):
    """In a kernel it would put a widget under any cell that keeps it busy for two seconds."""
    kernel.run("""\
import duckdb
from pathlib import Path
from livedb.limits import Limits
from livedb.store.connection import open_connection, scratch_connection
made = [scratch_connection(), open_connection(None, limits=Limits(), folders=[])]
def shows_bar(connection):
    setting = connection.sql("select current_setting('enable_progress_bar')")
    return setting.to_arrow_table()[0][0].as_py()
""")
    assert kernel.value("shows_bar(duckdb.connect())") == "True", "DuckDB has changed its mind"
    assert kernel.value("[shows_bar(each) for each in made]") == "[False, False]"
    kernel.run("for each in made: each.close()")


def test_a_load_leaves_nothing_red(kernel):
    outputs = kernel.run(
        "import pyarrow as pa\n"
        "loaded = db.load('numbers', pa.table({'n': range(200_000)}), progress=True)"
    )
    assert [each.get("name") for each in outputs] == [None]
    assert outputs[0]["data"] == {"text/plain": ""}


# -- functions ------------------------------------------------------------------------------------


def test_a_live_handle_follows_a_redefinition(kernel):
    kernel.run("add('a'); h = titles.live()")
    redefine = """\
@db.query
def titles(ctx: QueryContext) -> list[str]:
    return [task.title.upper() for task in ctx.db.query("tasks").collect()]
"""
    kernel.run(redefine)
    assert kernel.value("(h.value, h.error)") == "(['A'], None)"


def test_a_redefinition_that_no_longer_takes_the_arguments_is_an_error_that_names_them(kernel):
    define = """\
@db.query
def find(ctx: QueryContext, {}) -> list[str]:
    return [{}]
"""
    kernel.run(define.format("word: str", "word"))
    kernel.run("h = find.live(word='a')")
    kernel.run(define.format("text: str", "text"))
    assert kernel.value("h.value") == "['a']"  # the last good rows
    error = kernel.value("h.error")
    assert error.startswith("ArgumentValidationError")
    assert "word" in error
    assert "text" in error
    kernel.run(define.format("word: str", "word * 2"))
    assert kernel.value("(h.value, h.error)") == "(['aa'], None)"


def test_a_changed_helper_is_followed_after_its_cell(kernel):
    kernel.run("def shown(title): return title.upper()")
    kernel.run("""\
@db.query
def shouted(ctx: QueryContext) -> list[str]:
    return [shown(task.title) for task in ctx.db.query("tasks").collect()]
""")
    kernel.run("add('a'); h = shouted.live()")
    assert kernel.value("h.value") == "['A']"
    kernel.run("def shown(title): return title + '!'")
    assert kernel.value("h.value") == "['a!']"


def test_a_changed_helper_of_a_helper_is_followed_after_its_cell(kernel):
    kernel.run("def marked(title, mark='?'): return title + mark")
    kernel.run("def shown(title): return marked(title.upper())")
    kernel.run("""\
@db.query
def shouted(ctx: QueryContext) -> list[str]:
    return [shown(task.title) for task in ctx.db.query("tasks").collect()]
""")
    kernel.run("add('a'); h = shouted.live()")
    before = kernel.value("(h.value, h.runs)")
    assert before == "(['A?'], 1)"
    kernel.run("def marked(title, mark='?'): return title + mark")
    assert kernel.value("(h.value, h.runs)") == before
    kernel.run("def marked(title, mark='!'): return title + mark")
    assert kernel.value("h.value") == "['A!']"


CONNECT = """\
from livedb.auth.access import Role
from livedb.service.access import Access
from livedb.service.server import ServiceThread
access = Access(db.backend.workspace.clock, anonymous=Role.OWNER)
service = ServiceThread(db.backend.workspace, access=access).__enter__()
there = livedb.connect(service.url)
"""
SHOUTED = """\
@there.query
def shouted(ctx) -> list[str]:
    return [shown(task.title) for task in ctx.db.query("tasks").collect()]
"""


def test_a_changed_helper_of_a_function_on_a_service_is_sent_again_after_its_cell(kernel):
    kernel.run(CONNECT)
    kernel.run("mark = '?'\ndef shown(title): return title + mark")
    kernel.run(SHOUTED)
    kernel.run("add('a'); h = shouted.live()")
    before = kernel.value("(h.value, h.runs)")
    assert before == "(['a?'], 1)"
    kernel.run("mark = '?'\ndef shown(title): return title + mark")
    assert kernel.value("(h.value, h.runs)") == before
    kernel.run("def shown(title): return title.upper() + mark")
    assert kernel.value("(h.value, shouted())") == "(['A?'], ['A?'])"
    kernel.run("mark = '!'")  # which only the helper names
    assert kernel.value("(h.value, shouted())") == "(['A!'], ['A!'])"
    outputs = kernel.run("import threading; mark = threading.Lock()")
    assert "shouted stays on the service as it was sent before" in str(outputs)
    assert kernel.run("None") == []
    assert kernel.value("shouted()") == "['A!']"
    kernel.run("mark = '.'")
    assert kernel.value("h.value") == "['A.']"
    kernel.run("there.close(); service.__exit__(None, None, None)")


def test_what_a_function_on_a_service_was_defined_beside_is_not_kept(kernel):
    kernel.run(CONNECT)
    kernel.run("def shown(title): return title")
    kernel.run("h = titles.live()")
    kernel.run(SHOUTED)
    kernel.run("del h")
    assert kernel.value("live_queries()") == "0"
    kernel.run("there.close(); service.__exit__(None, None, None)")


def test_a_changed_global_is_followed_and_an_unchanged_one_costs_no_run(kernel):
    kernel.run("limit = 1")
    kernel.run("""\
@db.query
def few(ctx: QueryContext) -> list[str]:
    return [task.title for task in ctx.db.query("tasks").take(limit)]
""")
    kernel.run("add('a'); add('b'); h = few.live()")
    before = kernel.value("h.runs")
    kernel.run("limit = 1")
    assert kernel.value("(h.value, h.runs)") == f"(['a'], {before})"
    kernel.run("limit = 2")
    assert kernel.value("h.value") == "['a', 'b']"


@pytest.mark.parametrize(
    "line, named",
    [
        ("return allowed", "the global 'allowed' (a list)"),
        ("return frame.columns.tolist()", "the global 'frame' (a DataFrame)"),
        ("return [str(datetime.now())]", "ctx.now"),
        ("return [str(random.random())]", "ctx.random"),
    ],
)
def test_a_query_of_what_livedb_cannot_follow_is_warned_of_once(kernel, line, named):
    kernel.run("import pandas as pd\nallowed = ['a']\nframe = pd.DataFrame({'a': [1]})")
    cell = f"@db.query\ndef impure(ctx: QueryContext) -> list[str]:\n    {line}\n"
    warning = kernel.printed(cell, "stderr")
    assert named in warning
    assert warning.count("ImpureFunctionWarning") == 1
    kernel.run("impure(); impure()")
    assert kernel.printed(cell, "stderr") == ""  # the same cell again


def test_tab_completes_the_names_of_tables(kernel):
    kernel.client.complete('db["ta', 6)
    reply = kernel.client.get_shell_msg(timeout=30)
    while reply["header"]["msg_type"] != "complete_reply":
        reply = kernel.client.get_shell_msg(timeout=30)
    assert any("tasks" in match for match in reply["content"]["matches"])


# -- the loop and the keyboard --------------------------------------------------------------------


def test_an_interrupt_rolls_a_mutation_back_and_leaves_everything_usable(kernel):
    kernel.run("""\
@db.mutation
def endless(ctx: MutationContext) -> None:
    ctx.db.insert("tasks", {"title": "doomed"})
    print("inserted", flush=True)
    while True:
        pass
""")
    kernel.run("h = titles.live()")
    kernel.start("endless()")
    while kernel.client.get_iopub_msg(timeout=60)["content"].get("text") != "inserted\n":
        pass
    kernel.manager.interrupt_kernel()
    with pytest.raises(CellError, match="KeyboardInterrupt"):
        kernel.finish()
    kernel.run("add('after')")
    assert kernel.value("(h.value, titles())") == "(['after'], ['after'])"


def test_observers_run_on_the_loop_of_the_kernel(kernel):
    kernel.run("""\
seen = []
h = titles.live()
h.observe(lambda handle: seen.append((threading.current_thread(), handle.value)))
""")
    kernel.run("add('a')\ntime.sleep(0.3)\nassert not seen, 'the loop does not turn in a cell'")
    kernel.wait_until("[value for _, value in seen] == [['a']]")
    assert kernel.value("seen[0][0] is threading.main_thread()") == "True"


def test_an_observer_may_commit(kernel):
    kernel.run("""\
h = titles.live()
h.observe(lambda handle: len(handle.value) < 3 and add(f"n{len(handle.value)}"))
""")
    kernel.run("add('n0')")
    kernel.wait_until("h.value == ['n0', 'n1', 'n2']")


def test_a_cell_may_await_a_mutation(kernel):
    kernel.run("ids = await asyncio.gather(*[add.aio(title=str(n)) for n in range(20)])")
    assert kernel.value("(len(set(ids)), sorted(map(int, titles())) == list(range(20)))") == (
        "(20, True)"
    )


def test_a_cell_may_follow_a_handle_with_async_for(kernel):
    kernel.run("""\
seen = []
async def follow(handle):
    async for value in handle.aio():
        seen.append(value)
        if value:
            break
task = asyncio.create_task(follow(titles.live()))
""")
    kernel.run("await asyncio.sleep(0.1); add('a'); await asyncio.wait_for(task, 10)")
    assert kernel.value("seen") == "[[], ['a']]"


def test_a_handle_answers_as_its_widget_where_a_host_asks_for_one(kernel):
    """As `mo.ui.anywidget(handle)` does."""
    kernel.run("h = titles.live()")
    assert kernel.value("(h.comm is h.widget.comm, h._model_id == h.widget.model_id)") == (
        "(True, True)"
    )
    assert kernel.value("(hasattr(h, 'nothing'), 'address' in h.get_state())") == "(False, True)"


# -- workspaces on a service -----------------------------------------------------------------------


def test_between_cells_a_service_is_asked_nothing(kernel):
    kernel.run("from livedb.service.server import ServiceThread")
    kernel.run("service = ServiceThread(db.backend.workspace)")
    kernel.run("there = livedb.connect(service.url)")
    for cell in ("there.close()", "service.close()", "None"):
        assert kernel.run(cell) == []
