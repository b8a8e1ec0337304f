"""The quickstart and its promises in a real JupyterLab: what a person sees when cells run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.table.test_editing import cell
from tests.browser.table.test_live_table import wait_for_desk

pytestmark = pytest.mark.browser

REPOSITORY = Path(__file__).parents[3]

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


def slow_animations(page) -> None:
    session = page.page.context.new_cdp_session(page.page)
    session.send("Animation.enable")
    session.send("Animation.setPlaybackRate", {"playbackRate": 0.02})


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


@pytest.mark.parametrize(
    "keeps_busy",
    ["sum(range(1000))", "time.sleep(0.2)", "print('.', end='', flush=True); time.sleep(0.01)"],
    ids=["computes", "sleeps", "prints"],
)
def test_tables_follow_while_a_cell(open_notebook, lab, keeps_busy):
    busy = f"""\
import pathlib, threading
threading.Timer(1.0, lambda: cancel(flight=delays.value[0]._id)).start()
while not pathlib.Path("enough").exists():
    {keeps_busy}
'computed'
"""
    (lab.root / "enough").unlink(missing_ok=True)
    page = open_notebook("computes", SETUP, LIVE, LIVE_SQL, busy)
    for index in range(3):
        run_cell(page, index)
    expect(rows_of(page.output(1)).first).to_contain_text("1301")
    start_cell(page, 3)
    expect(rows_of(page.output(1)).first).to_contain_text("1137")
    expect(rows_of(page.output(2)).first).to_contain_text("1137")
    assert "computed" not in page.output(3).inner_text()
    (lab.root / "enough").touch()
    expect(page.output(3)).to_contain_text("computed")


def test_running_a_live_cell_again_leaves_one_live_query(open_notebook):
    page = open_notebook("again", SETUP, LIVE, LIVE_SQL, CANCEL)
    for index in (0, 1, 2, 1, 2, 1):
        run_cell(page, index)
    page.execute("live = db.statistics().live\nassert live['followed'] == 2, live")
    run_cell(page, 3)
    expect(rows_of(page.output(1)).first).to_contain_text("1137")
    expect(page.output(1).locator(".livedb")).to_have_attribute("data-state", "live")


def test_a_view_of_a_replaced_handle_shows_the_new_one(open_notebook):
    other = "delays = worst.live(origin='EWR')\ndelays"
    page = open_notebook("moves-on", SETUP, LIVE, "delays", other)
    for index in range(3):
        run_cell(page, index)
    expect(rows_of(page.output(2)).first).to_contain_text("1301")
    run_cell(page, 3)
    page.execute("db['flights'].insert({'origin': 'EWR', 'dest': 'MIA', 'delay': 2000})")
    for index in (1, 2, 3):
        expect(rows_of(page.output(index)).first).to_contain_text("MIA")
        expect(page.output(index)).to_contain_text("worst(origin='EWR')")
        expect(page.output(index).locator(".livedb")).to_have_attribute("data-state", "live")
    page.execute("live = db.statistics().live\nassert live['followed'] == 1, live")


def test_a_closed_handle_and_a_closed_workspace_keep_their_rows_and_say_so(open_notebook):
    page = open_notebook("closes", SETUP, LIVE, LIVE_SQL, "delays.close()", "db.close()", "summary")
    for index in range(4):
        run_cell(page, index)
    first, second = page.output(1), page.output(2)
    expect(first.get_by_role("alert")).to_contain_text("This handle is closed")
    expect(first.locator(".livedb-footer")).to_contain_text("not live")
    expect(rows_of(first).first).to_contain_text("1301")
    expect(second.locator(".livedb")).to_have_attribute("data-state", "live")
    run_cell(page, 4)
    expect(second.get_by_role("alert")).to_contain_text("The workspace is closed")
    expect(rows_of(second).first).to_contain_text("1301")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("closed")
    run_cell(page, 5)
    expect(page.output(5)).to_contain_text("The workspace is closed")


def test_a_handle_that_only_the_history_holds_goes_with_its_last_view(open_notebook):
    page = open_notebook("unheld", SETUP, QUERY + "worst.live(origin='JFK')", "None")
    run_cell(page, 0)
    followed = "db.statistics().live['followed'] == {}"
    run_cell(page, 1)
    expect(page.output(1).locator(".livedb")).to_have_attribute("data-state", "live")
    page.execute("from livedb.notebook import manners; manners.UNSEEN_S_MAX = 0.0")
    run_cell(page, 2)
    page.execute("assert " + followed.format(1))
    page.command("notebook:clear-all-cell-outputs")
    page.wait_in_kernel(followed.format(0))


def test_a_redefinition_that_no_longer_takes_the_arguments_names_them_in_the_table(open_notebook):
    renamed = QUERY.replace("origin: str", "airport: str").replace("=origin)", "=airport)")
    page = open_notebook("renamed", SETUP, LIVE, renamed, QUERY)
    for index in range(3):
        run_cell(page, index)
    alert = page.output(1).get_by_role("alert")
    expect(alert).to_contain_text("airport")
    expect(alert).to_contain_text("origin")
    expect(rows_of(page.output(1)).first).to_contain_text("1301")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("renamed-argument")
    run_cell(page, 3)
    expect(alert).to_be_hidden()


def test_a_changed_helper_is_followed_by_the_table(open_notebook):
    query = """\
@db.query
def shown(ctx: QueryContext) -> list[str]:
    return [style(each.dest) for each in ctx.db.query("flights").take(2)]

names = shown.live()
names
"""
    page = open_notebook("helper", SETUP, "style = str.lower", query, "style = str.upper")
    for index in range(3):
        run_cell(page, index)
    expect(rows_of(page.output(2)).first).to_contain_text("hnl")
    run_cell(page, 3)
    expect(rows_of(page.output(2)).first).to_contain_text("HNL")


def test_the_workspace_itself_is_displayed(open_notebook):
    page = open_notebook("overview", SETUP, LIVE, "db", "db['flights']")
    for index in range(4):
        run_cell(page, index)
    for text in ("by_delay(origin, delay)", "worst(origin: str)", "worst(origin='JFK')"):
        expect(page.output(2)).to_contain_text(text)
    expect(page.output(3)).to_contain_text("4 rows")
    page.cell(2).evaluate("each => each.scrollIntoView({block: 'start'})")
    page.screenshot("overview")


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
    page.save()
    page.command("kernelmenu:shutdown")
    path = lab.root / "kept.ipynb"
    stored = nbformat.read(path, as_version=4)
    stored.metadata["kernelspec"] = {"name": "elsewhere", "display_name": "A kernel not here"}
    nbformat.write(stored, path)
    page.page.reload()
    expect(page.output(1)).to_contain_text("1301")
    expect(page.output(1)).to_contain_text("worst(origin='JFK')")
    expect(page.output(1)).to_contain_text("3 rows")
    expect(page.output(2)).to_contain_text("1301")


def test_a_query_that_fails_at_once_shows_its_error_and_no_rows(open_notebook):
    broken = QUERY.replace("    return", "    raise ValueError('no such airport')\n    return")
    page = open_notebook("fails", SETUP, broken + "h = worst.live(origin='JFK')\nh", QUERY)
    for index in range(2):
        run_cell(page, index)
    output = page.output(1)
    expect(output.get_by_role("alert")).to_contain_text("no such airport")
    expect(output.locator(".livedb-words")).to_have_text("error")
    expect(output.locator(".livedb-frame")).to_be_hidden()
    run_cell(page, 2)
    expect(rows_of(output).first).to_contain_text("1301")
    expect(output.locator(".livedb")).to_have_attribute("data-state", "live")


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
    planes, worst, by_airport, cancel_one, form = (
        next(at for at, source in enumerate(sources) if source.endswith(ending))
        for ending in ("\nplanes", "\nworst_at_jfk", "\nby_airport", "._id)", "refit.form()")
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
    work_with_planes(page, page.output(planes), page.output(form))
    assert page.page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    cells = page.page.locator(".jp-Notebook .jp-Cell")
    for theme in ("light", "dark"):
        page.change_theme(theme)
        for at in range(0, cells.count(), 4):
            cells.nth(at).evaluate("each => each.scrollIntoView({block: 'start'})")
            page.screenshot(f"quickstart-{theme}-{at:02}")
        # The pictures of the README: what a commit elsewhere has just changed is lit.
        page.page.set_viewport_size({"width": 1000, "height": 1000})
        heading = page.page.get_by_role("heading", name="A query is a function")
        heading.evaluate("each => each.scrollIntoView({block: 'start'})")
        slow_animations(page)  # a loaded machine may need a second for the picture
        first = rows_of(page.output(worst)).first
        shown = first.text_content()
        page.execute(sources[cancel_one])
        expect(first).not_to_have_text(shown)
        number = re.search(r"commit \d+", footer_of(page.output(worst)).inner_text())[0]
        expect(footer_of(page.output(by_airport))).to_contain_text(number)
        page.screenshot(f"quickstart-{theme}")
        page.page.set_viewport_size({"width": 1000, "height": 1130})
    run_cell(page, len(sources) - 1)


def work_with_planes(page, table: Locator, form: Locator) -> None:
    """What the quickstart says a person may do: filter, select, fill in the form."""
    wait_for_desk(table)
    table.get_by_label("search all columns").fill("N1015")
    expect(rows_of(table)).to_have_count(1)
    cell(table, 0, "tailnum").click()
    page.wait_in_kernel("planes.selection.df['tailnum'].tolist() == ['N10156']")
    picker = form.get_by_role("combobox", name=re.compile("plane"))
    picker.press_sequentially("N10156")
    expect(form.locator(".livedb-option")).to_have_count(1)
    picker.press("Enter")
    form.get_by_label("seats").fill("60")
    form.get_by_label("seats").press("Enter")
    expect(form.get_by_role("status").last).to_contain_text("done")
    expect(cell(table, 0, "seats")).to_have_text("60")
    table.get_by_role("button", name="clear").click()
