"""What axe-core says of a live table and a form in a real JupyterLab, in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.table.test_live_table import wait_for_desk

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[3] / "widgets/node_modules/axe-core/axe.min.js"

SETUP = """\
from datetime import UTC, datetime
import livedb
db = livedb.open()
for n in range(40):
    db["tasks"].insert({"title": f"task {n}", "n": n, "due": datetime(2026, 3, 1, tzinfo=UTC),
        "note": None if n % 3 else "x", "tags": [n], "done": n % 2 == 0})

@db.mutation
def add_task(ctx, title: str, n: int = 0, done: bool = False) -> str:
    return ctx.db.insert("tasks", {"title": title, "n": n, "done": done})
"""

RUN = """(selector) => axe.run(document.querySelectorAll(selector), {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
}).then(({violations}) => violations.map(({id, nodes}) =>
    [id, ...nodes.map(({html, failureSummary}) => `${html.slice(0, 200)} ${failureSummary}`)]))"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_a_table_and_its_panels(open_notebook, theme):
    page = open_notebook(f"axe-{theme}", SETUP, "db['tasks'].live()", "add_task.form()", "db")
    page.change_theme(theme)
    page.run_all()
    output = page.output(1)
    wait_for_desk(output)
    expect(output.locator(".livedb-chart button").first).to_be_enabled()
    expect(page.output(3).locator(".livedb-explorer tbody tr").first).to_be_visible()
    page.page.add_script_tag(path=AXE)
    assert page.page.evaluate(RUN, ".livedb, .livedb-form, .livedb-explorer") == []
    page.output(3).locator("tbody").last.get_by_role("button").first.click()
    expect(page.output(3).locator(".livedb-changes")).to_be_visible()
    for name in ("filter", "columns", "export", "add"):
        output.get_by_role("button", name=name, exact=True).click()
    output.locator("tbody td[data-column='1']").nth(2).click()
    page.page.keyboard.press("Enter")
    expect(output.get_by_label("edit title")).to_be_editable()
    assert page.page.evaluate(RUN, ".livedb, .livedb-form, .livedb-explorer") == []
