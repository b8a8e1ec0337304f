"""What tables leave behind, and how they hold out: many displays, updates, tables, commits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import pytest
from playwright.sync_api import CDPSession, expect

from tests.browser.lab import NotebookPage
from tests.browser.table.test_live_table import rows_of, wait_for_desk

pytestmark = [pytest.mark.browser, pytest.mark.oracle]

SETUP = """\
import gc, tempfile, threading, time
import psutil
from comm import get_comm_manager
from IPython.display import clear_output, display
import livedb
from livedb.notebook.handles import open_handles

db = livedb.open(f"{tempfile.mkdtemp()}/endurance.livedb")

@db.table("tasks")
class Task:
    title: str
    n: int

@db.query
def tasks(ctx: livedb.QueryContext) -> list[Task]:
    return ctx.db.query(Task).collect()

@db.mutation
def fill(ctx: livedb.MutationContext, count: int) -> list[livedb.Id[Task]]:
    return [ctx.db.insert("tasks", {"title": f"task {n}", "n": n}) for n in range(count)]

@db.mutation
def write(ctx: livedb.MutationContext, task: livedb.Id[Task], n: int) -> None:
    ctx.db.patch(task, {"n": n})

ids = fill(count=500)
held = tasks.live()

def left():
    gc.collect()
    return {
        "handles": len(open_handles()),
        "comms": len(get_comm_manager().comms),
        "threads": threading.active_count(),
        "objects": len(gc.get_objects()),
        "memory": psutil.Process().memory_info().rss,
    }
"""

RUN_CELL = """async (index) => {
    const {content} = window.jupyterapp.shell.currentWidget;
    content.activeCellIndex = index;
    content.deselectAll();
    await window.jupyterapp.commands.execute('notebook:run-cell');
}"""

ROWS_HAVE_COME = """(wanted) => {
    const rows = [...document.querySelectorAll('[role=grid] tbody tr')];
    return Math.abs(rows[0].ariaRowIndex - 2 - wanted) < 100
        && rows.every((row) => !row.classList.contains('livedb-coming'));
}"""

GONE_MS = 11_000
"""A place that left the page keeps its table for ten seconds (widgets/src/view/places.ts)."""


KEPT_MS = 45_000
"""What commits have superseded is kept for half a minute, and dropped by the next upkeep."""


class Left(NamedTuple):
    """What there is of each kind, once nothing that may go is left."""

    page: Mapping[str, int]
    kernel: Mapping[str, int]


def counted(page: NotebookPage, devtools: CDPSession) -> Left:
    for _ in range(3):
        devtools.send("HeapProfiler.collectGarbage")
    found = devtools.send("Performance.getMetrics")["metrics"]
    kernel = json.loads(page.value("left()").replace("'", '"'))
    return Left({each["name"]: int(each["value"]) for each in found}, kernel)


def devtools_of(page: NotebookPage) -> CDPSession:
    devtools = page.page.context.new_cdp_session(page.page)
    devtools.send("Performance.enable")
    return devtools


def run_cell(page: NotebookPage, index: int, count: int) -> None:
    for _ in range(count):
        page.page.evaluate(RUN_CELL, index)


@pytest.mark.parametrize(
    "cell",
    [
        "shown = tasks.live()\nshown",
        "for _ in range(2):\n    clear_output()\n    display(held)",
    ],
    ids=["its cell run again", "displayed and cleared"],
)
def test_a_hundred_displays_leave_nothing_behind(open_notebook, cell):
    page = open_notebook("displays", SETUP, cell)
    page.run_all()
    wait_for_desk(page.output(1))
    devtools = devtools_of(page)

    def displayed(count: int) -> Left:
        run_cell(page, 1, count)
        page.page.wait_for_timeout(GONE_MS)
        run_cell(page, 1, 1)  # what the run before could not close, as it was in sight
        page.page.wait_for_timeout(GONE_MS)
        wait_for_desk(page.output(1))
        return counted(page, devtools)

    before = displayed(20)
    after = displayed(100)
    growth = {name: after.page[name] - before.page[name] for name in ("Nodes", "JSEventListeners")}
    assert all(abs(each) < 100 for each in growth.values()), growth
    # JupyterLab and anywidget keep some of each model: a plain Label takes 34 KB a run.
    heap = after.page["JSHeapUsedSize"] - before.page["JSHeapUsedSize"]
    assert heap < 100 * 40_000, f"the page keeps {heap / 100:,.0f} bytes of each display"
    for name in ("handles", "comms", "threads"):
        assert after.kernel[name] <= before.kernel[name], (name, before.kernel, after.kernel)
    assert after.kernel["objects"] - before.kernel["objects"] < 100 * 20, (before, after)


def test_ten_thousand_updates_leave_nothing_behind(open_notebook):
    page = open_notebook("updates", SETUP, "held")
    page.run_all()
    output = page.output(1)
    wait_for_desk(output)
    devtools = devtools_of(page)
    cell = rows_of(output).nth(3).locator("td").nth(2)

    def updated(count: int) -> Left:
        page.execute(
            f"for n in range({count}):\n    write(task=ids[n % 15], n=n)\n    time.sleep(0.002)\n"
            f"write(task=ids[3], n={count} + 1)"
        )
        expect(cell).to_have_text(str(count + 1))
        page.page.wait_for_function("document.getAnimations().length === 0")
        page.page.wait_for_timeout(KEPT_MS)
        return counted(page, devtools)

    before = updated(10_000)
    after = updated(10_000)
    for name in ("Nodes", "JSEventListeners"):
        assert abs(after.page[name] - before.page[name]) < 50, (name, before.page, after.page)
    assert after.page["JSHeapUsedSize"] - before.page["JSHeapUsedSize"] < 2_000_000
    assert after.kernel["threads"] <= before.kernel["threads"]
    assert after.kernel["comms"] == before.kernel["comms"]
    assert after.kernel["objects"] - before.kernel["objects"] < 2_000, (before, after)
    assert after.kernel["memory"] - before.kernel["memory"] < 20 << 20, (before, after)


def test_fifty_tables_on_one_page_follow_each_commit_in_one_message(open_notebook):
    fifty = """\
@db.query
def every(ctx: livedb.QueryContext, offset: int) -> list[Task]:
    return ctx.db.query(Task).collect()[offset : offset + 20]

@db.mutation
def write_all(ctx: livedb.MutationContext, n: int) -> None:
    for task in ids:
        ctx.db.patch(task, {"n": n})

shown = [every.live(offset=number * 9) for number in range(50)]
for each in shown:
    display(each)
"""
    count = """\
batches, before = [], shown[0].version
def spy(send):
    return lambda content, buffers: (batches.append(content), send(content, buffers))
for each in shown:
    each.widget.send_batch = spy(each.widget.send_batch)
"""
    page = open_notebook("fifty", SETUP, fifty)
    page.run_all()
    tables = page.output(1).locator(".livedb")
    expect(tables).to_have_count(50)
    for number in range(50):
        expect(tables.nth(number).locator("[role=grid] tbody tr")).to_have_count(15)
    page.execute(count)
    page.execute(
        "for n in range(1_000, 1_010):\n    write_all(n=n)\n    time.sleep(0.2)\n"
        "threading.Thread(target=lambda: [write_all(n=n) for n in range(2_000, 2_100)]).start()"
    )
    # The page answers its reader meanwhile.
    last = tables.nth(49)
    last.locator(".livedb-scroller").evaluate("each => { each.scrollTop = each.scrollHeight }")
    expect(rows_of(page.output(1)).last).to_contain_text("task 460")
    for number in (0, 17, 48):
        row = tables.nth(number).locator("[role=grid] tbody tr").first
        expect(row).to_contain_text(f"task {number * 9}")
        expect(row.locator("td").nth(2)).to_have_text("2099")
    expect(rows_of(page.output(1)).last.locator("td").nth(2)).to_have_text("2099")
    page.execute(
        "updates = [[e for e in b['entries'] if 'views' in e] for b in batches]\n"
        "updates = [each for each in updates if each]\n"
        "assert len({e['address'] for each in updates for e in each}) == 50\n"
        "slow = [b for b in updates if all(e['number'] <= before + 10 for e in b)]\n"
        "assert len(slow) <= 2 * 10 and len(updates) <= 2 * 110, (len(slow), len(updates))"
    )


def test_ten_thousand_commits_of_a_cell_that_prints_lose_neither_rows_nor_prints(open_notebook):
    busy = "for n in range(10_000):\n    write(task=ids[n % 15], n=n)\n    print(n)"
    page = open_notebook("prints", SETUP, "held", busy)
    page.run_all()
    page.wait_until_idle(600)  # on a busy machine it takes minutes
    for at in range(15):
        last = max(n for n in range(9_985, 10_000) if n % 15 == at)
        expect(rows_of(page.output(1)).nth(at).locator("td").nth(2)).to_have_text(str(last))
    outputs = page.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.content.widgets[2].model.outputs.toJSON()"
    )
    assert {each["name"] for each in outputs} == {"stdout"}, outputs[-1]
    printed = "".join("".join(each["text"]) for each in outputs).split()
    assert printed == [str(n) for n in range(10_000)]


def test_a_million_rows_scroll_end_to_end_with_right_rows_while_commits_come(open_notebook):
    load = """\
import pyarrow as pa
count = 1_000_000
db.load("rows", pa.table({"place": range(count), "text": [f"row {n}" for n in range(count)],
    "hits": pa.nulls(count, pa.int64()).fill_null(0)}))

@db.mutation
def hit(ctx: livedb.MutationContext, keys: list[str], hits: int) -> None:
    for key in keys:
        ctx.db.patch(key, {"hits": hits})

many = db["rows"].live()
keys = many.to_arrow()["_id"].to_pylist()
is_over = threading.Event()

def commit():
    begin, made = time.monotonic(), 0
    while not is_over.is_set():
        made += 1
        hit(keys=[keys[made * 104_729 % count], keys[0], keys[-1]], hits=made)
        time.sleep(max(0.0, begin + made / 200 - time.monotonic()))
    hit(keys=[keys[0], keys[-1]], hits=made + 1)
    finished.append(made + 1)

finished = []
committer = threading.Thread(target=commit)
"""
    page = open_notebook("million", SETUP, load, "many")
    page.run_all()
    output = page.output(2)
    wait_for_desk(output)
    page.execute("committer.start()")
    scroller, rows = output.locator(".livedb-scroller"), rows_of(output)
    stops = 40
    for stop in range(stops + 1):
        scroller.evaluate(
            "(each, part) => { each.scrollTop = (each.scrollHeight - each.clientHeight) * part }",
            stop / stops,
        )
        wanted = round(stop / stops * (1_000_000 - 15))
        page.page.wait_for_function(ROWS_HAVE_COME, arg=wanted)
        shown = rows.evaluate_all(
            "rows => rows.map((row) => [row.ariaRowIndex - 2, row.cells[1].textContent, "
            "row.cells[2].textContent])"
        )
        assert len(shown) >= 14
        for at, place, text in shown:
            assert (place, text) == (str(at), f"row {at}"), shown
    page.execute("is_over.set()\ncommitter.join()")
    hits = page.value("finished[0]")
    expect(rows.last.locator("td").nth(3)).to_have_text(hits)
    scroller.evaluate("each => { each.scrollTop = 0 }")
    expect(rows.first.locator("td").nth(3)).to_have_text(hits)
