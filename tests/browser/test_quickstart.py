"""The quickstart in a real JupyterLab: one cell commits, the tables above it change in place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"
WORST, BY_AIRPORT, JOURNEYS, CANCEL = 3, 4, 5, 7
"""Code cells of the notebook."""


@pytest.fixture(scope="module")
def quickstart(lab, browser) -> Iterator:
    """The notebook run up to the definition of `cancel_flight`, which is not called yet."""
    from tests.browser.conftest import Notebooks

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    definition, _, call = code[CANCEL].source.rpartition("\n")
    assert call.startswith("cancel_flight(")
    code[CANCEL].source = definition
    notebook.cells = notebook.cells[: notebook.cells.index(code[CANCEL]) + 1]
    opened = Notebooks(lab, browser)
    page = opened.open_file("quickstart", notebook)
    page.run_all()
    yield page
    assert opened.close() == []


def rows(page, cell):
    return page.output(cell).locator("tbody tr[aria-rowindex]")


def test_a_commit_changes_every_table_in_place(quickstart):
    page = quickstart
    page.cell(WORST).scroll_into_view_if_needed()
    page.screenshot("quickstart-start")
    expect(rows(page, WORST).first).to_contain_text("1301")
    before = {cell: rows(page, cell).all_inner_texts() for cell in (WORST, BY_AIRPORT, JOURNEYS)}
    page.cell(WORST).scroll_into_view_if_needed()
    page.screenshot("quickstart-before")

    page.execute("cancel_flight(flight=worst_at_jfk.value[0]._id)")

    expect(rows(page, WORST).first).not_to_contain_text("1301")
    for cell, texts in before.items():
        expect(rows(page, cell).first).not_to_have_text(texts[0])
    assert rows(page, WORST).first.inner_text() == before[WORST][1]
    page.screenshot("quickstart-after")
    page.cell(BY_AIRPORT).scroll_into_view_if_needed()
    page.screenshot("quickstart-sql")


def test_a_table_follows_while_a_cell_keeps_python_busy(quickstart):
    page = quickstart
    first = rows(page, WORST).first.inner_text()
    page.page.evaluate(
        """(code) => {
            window.busy = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
                .requestExecute({code}).done;
        }""",
        "import time\n"
        "cancel_flight(flight=worst_at_jfk.value[0]._id)\n"
        "end = time.monotonic() + 8\n"
        "while time.monotonic() < end: sum(range(1000))\n",
    )
    expect(rows(page, WORST).first).not_to_have_text(first, timeout=6_000)
    page.page.evaluate("() => window.busy")


def test_a_cell_run_again_leaves_one_live_query(quickstart):
    page = quickstart
    page.execute("followed = db.statistics().live['followed']")
    page.page.evaluate(
        """async (index) => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            const codes = notebook.widgets.filter(cell => cell.model.type === 'code');
            notebook.activeCellIndex = notebook.widgets.indexOf(codes[index]);
            await window.jupyterapp.commands.execute('notebook:run-cell');
        }""",
        WORST,
    )
    expect(rows(page, WORST).first).to_be_visible()
    page.execute("assert db.statistics().live['followed'] == followed, db.statistics()")


def test_the_dark_theme_is_readable(quickstart):
    page = quickstart
    page.command("apputils:change-theme", theme="JupyterLab Dark")
    page.page.wait_for_timeout(500)
    page.cell(WORST).scroll_into_view_if_needed()
    page.screenshot("quickstart-dark")
    colours = rows(page, WORST).first.evaluate(
        """row => {
            const light = text => (text.match(/[0-9.]+/g) ?? []).slice(0, 3)
                .reduce((sum, part) => sum + Number(part), 0) / 765;
            const style = getComputedStyle(row.querySelector("td"));
            let at = row, back = 'rgba(0, 0, 0, 0)';
            while (at && /, 0\\)$|transparent/.test(back)) {
                back = getComputedStyle(at).backgroundColor;
                at = at.parentElement;
            }
            return [light(style.color), light(back)];
        }"""
    )
    text, back = colours
    assert text - back > 0.4, colours
