"""The quickstart and its promises in a real JupyterLab: what a person sees when cells run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.browser

REPOSITORY = Path(__file__).parents[2]

SETUP = """\
import time
import livedb
from livedb import Id, MutationContext, QueryContext
db = livedb.open()

@db.table("flights", indexes={"by_delay": ["origin", "delay"]})
class Flight:
    origin: str
    dest: str
    delay: int | None

@db.mutation
def cancel(ctx: MutationContext, flight: Id[Flight]) -> None:
    ctx.db.patch("flights", flight, {"delay": None})

db["flights"].insert([
    {"origin": "JFK", "dest": dest, "delay": delay}
    for dest, delay in [("HNL", 1301), ("CMH", 1137), ("SFO", 1014), ("CVG", 1005)]
])
"""

QUERY = """\
@db.query
def worst(ctx: QueryContext, origin: str) -> list[Flight]:
    return ctx.db.query("flights").with_index("by_delay", origin=origin).order("desc").take(3)

"""

LIVE = QUERY + "delays = worst.live(origin='JFK')\ndelays"

LIVE_SQL = (
    'summary = db.sql("select count(delay) as departed, max(delay) as longest from flights").live()'
    "\nsummary"
)

CANCEL = "cancel(flight=delays.value[0]._id)"


def rows_of(output: Locator) -> Locator:
    return output.locator(".livedb tbody tr")


def footer_of(output: Locator) -> Locator:
    return output.locator(".livedb-footer")


def run_cell(page, index: int) -> None:
    """Run code cell `index`; returns when it has run."""
    page.page.evaluate(
        """index => {
            const {content} = window.jupyterapp.shell.currentWidget;
            const code = content.widgets.filter(each => each.model.type === 'code');
            content.activeCellIndex = content.widgets.indexOf(code[index]);
        }""",
        index,
    )
    page.command("notebook:run-cell")


def start_cell(page, index: int) -> None:
    """Run code cell `index` without waiting for its end."""
    page.page.evaluate(
        """index => {
            const {content} = window.jupyterapp.shell.currentWidget;
            const code = content.widgets.filter(each => each.model.type === 'code');
            content.activeCellIndex = content.widgets.indexOf(code[index]);
            void window.jupyterapp.commands.execute('notebook:run-cell');
        }""",
        index,
    )


def change_theme(page, theme: str) -> None:
    page.command("apputils:change-theme", theme=f"JupyterLab {theme.title()}")
    page.page.locator("#jupyterlab-splash").wait_for(state="detached")


def test_a_commit_in_one_cell_changes_the_table_under_another(open_notebook):
    page = open_notebook("one-commits", SETUP, LIVE, LIVE_SQL, CANCEL)
    for index in range(3):
        run_cell(page, index)
    rows = rows_of(page.output(1))
    expect(rows.first).to_contain_text("1301")
    expect(rows_of(page.output(2)).first).to_contain_text("1301")
    rows.nth(1).evaluate("row => { row.dataset.witness = 'kept' }")
    before = int(re.search(r"commit (\d+)", footer_of(page.output(1)).inner_text())[1])
    run_cell(page, 3)
    expect(rows.first).to_contain_text("1137")
    expect(rows).to_have_count(3)
    # In place: the row that was second is the same row, now the first.
    expect(rows.first).to_have_attribute("data-witness", "kept")
    expect(footer_of(page.output(1))).to_contain_text(f"commit {before + 1}")
    expect(rows_of(page.output(2)).first).to_contain_text("1137")
    expect(footer_of(page.output(2))).to_contain_text(f"commit {before + 1}")


def test_tables_follow_while_a_cell_computes(open_notebook):
    busy = """\
import threading
threading.Timer(1.0, lambda: cancel(flight=delays.value[0]._id)).start()
end = time.monotonic() + 6
while time.monotonic() < end:
    sum(range(1000))
'computed'
"""
    page = open_notebook("computes", SETUP, LIVE, LIVE_SQL, busy)
    for index in range(3):
        run_cell(page, index)
    expect(rows_of(page.output(1)).first).to_contain_text("1301")
    start_cell(page, 3)
    expect(rows_of(page.output(1)).first).to_contain_text("1137")
    expect(rows_of(page.output(2)).first).to_contain_text("1137")
    assert "computed" not in page.output(3).inner_text()
    expect(page.output(3)).to_contain_text("computed", timeout=20_000)


def test_running_a_live_cell_again_leaves_one_live_query(open_notebook):
    page = open_notebook("again", SETUP, LIVE, LIVE_SQL, CANCEL)
    for index in (0, 1, 2, 1, 2, 1):
        run_cell(page, index)
    page.execute("live = db.statistics().live\nassert live['followed'] == 2, live")
    run_cell(page, 3)
    expect(rows_of(page.output(1)).first).to_contain_text("1137")
    expect(page.output(1).locator(".livedb")).to_have_attribute("data-state", "live")


def test_after_a_restart_tables_are_stale_until_their_cells_run(open_notebook):
    page = open_notebook("restarted", SETUP, LIVE, CANCEL)
    for index in range(2):
        run_cell(page, index)
    table = page.output(1).locator(".livedb")
    expect(table).to_have_attribute("data-state", "live")
    page.restart_kernel()
    expect(table).to_have_attribute("data-state", "stale")
    expect(rows_of(page.output(1)).first).to_contain_text("1301")
    for index in range(3):
        run_cell(page, index)
    expect(table).to_have_attribute("data-state", "live")
    expect(rows_of(page.output(1)).first).to_contain_text("1137")


def test_without_its_kernel_a_notebook_shows_the_last_rows(open_notebook, lab):
    page = open_notebook("kept", SETUP, LIVE, LIVE_SQL)
    page.run_all()
    expect(rows_of(page.output(1)).first).to_contain_text("1301")
    page.command("docmanager:save")
    page.page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
    page.command("kernelmenu:shutdown")
    path = lab.root / "kept.ipynb"
    stored = nbformat.read(path, as_version=4)
    stored.metadata["kernelspec"] = {"name": "elsewhere", "display_name": "A kernel not here"}
    nbformat.write(stored, path)
    page.page.reload()
    expect(page.output(1)).to_contain_text("1301", timeout=20_000)
    expect(page.output(1)).to_contain_text("worst(origin='JFK') · 3 rows · commit")
    expect(page.output(2)).to_contain_text("1301")


def test_a_query_redefined_to_raise_shows_why_beside_the_last_rows(open_notebook):
    broken = QUERY.replace("    return", "    raise ValueError('no such airport')\n    return")
    page = open_notebook("raising", SETUP, LIVE, broken, QUERY)
    for index in range(3):
        run_cell(page, index)
    table = page.output(1).locator(".livedb")
    expect(page.output(1).get_by_role("alert")).to_contain_text("no such airport")
    expect(rows_of(page.output(1)).first).to_contain_text("1301")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("query-error")
    run_cell(page, 3)
    expect(table).to_have_attribute("data-state", "live")
    expect(page.output(1).get_by_role("alert")).to_be_hidden()


def test_the_quickstart_runs_in_jupyterlab(notebooks, lab):
    notebook = nbformat.read(REPOSITORY / "notebooks/01_quickstart.ipynb", as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    worst, by_airport, cancel_one = (
        next(at for at, source in enumerate(sources) if source.endswith(ending))
        for ending in ("\nworst_at_jfk", "\nby_airport", "._id)")
    )
    shutil.rmtree(lab.root / "flights.livedb", ignore_errors=True)
    page = notebooks.open_file("quickstart", notebook)
    page.page.set_viewport_size({"width": 1000, "height": 1130})
    for index in range(cancel_one):
        run_cell(page, index)
    expect(rows_of(page.output(worst)).first).to_contain_text("1301")
    run_cell(page, cancel_one)
    expect(rows_of(page.output(worst)).first).to_contain_text("1137")
    expect(rows_of(page.output(by_airport)).first).to_contain_text("1137")
    for index in range(cancel_one + 1, len(sources) - 1):
        run_cell(page, index)
    assert page.page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    cells = page.page.locator(".jp-Notebook .jp-Cell")
    for theme in ("light", "dark"):
        change_theme(page, theme)
        for at in range(0, cells.count(), 4):
            cells.nth(at).evaluate("each => each.scrollIntoView({block: 'start'})")
            page.screenshot(f"quickstart-{theme}-{at:02}")
        # The pictures of the README: what a commit elsewhere has just changed is lit.
        page.page.set_viewport_size({"width": 1000, "height": 1000})
        heading = page.page.get_by_role("heading", name="A query is a function")
        heading.evaluate("each => each.scrollIntoView({block: 'start'})")
        first = rows_of(page.output(worst)).first
        shown = first.text_content()
        page.execute(sources[cancel_one])
        expect(first).not_to_have_text(shown)
        number = re.search(r"commit \d+", footer_of(page.output(worst)).inner_text())[0]
        expect(footer_of(page.output(by_airport))).to_contain_text(number)
        page.screenshot(f"quickstart-{theme}")
        page.page.set_viewport_size({"width": 1000, "height": 1130})
    change_theme(page, "light")
    run_cell(page, len(sources) - 1)
