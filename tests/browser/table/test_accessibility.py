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

# JupyterLab's body is 0 px high and cuts off what overflows it, so axe takes all of a notebook as
# hidden; over a shade it cannot tell a contrast.
SHOWN_TO_AXE = """\
html, body { height: 100vh !important; }
.livedb-frame::before, .livedb-frame::after { display: none !important; }
"""

SHOW = "db['tasks'].live()"
CLOSED = "closed = db.sql('from tasks').live()\nclosed"

RUN = """(selector) => axe.run(document.querySelectorAll(selector), {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
}).then(({passes, violations}) => [
    passes.find(({id}) => id === "color-contrast")?.nodes.length ?? 0,
    violations.flatMap(({id, nodes}) => nodes.map(({html, failureSummary}) =>
        `${id}: ${html.slice(0, 200)} ${failureSummary}`)),
])"""

CONTRASTS_MIN = 50
"""Elements whose contrast axe has to judge, or else it has not looked."""


def assert_accessible(page):
    contrasts, violations = page.page.evaluate(RUN, ".livedb, .livedb-form, .livedb-explorer")
    assert violations == []
    assert contrasts > CONTRASTS_MIN


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_tables_forms_and_the_explorer(open_notebook, theme):
    page = open_notebook(f"axe-{theme}", SETUP, SHOW, "add_task.form()", "db", CLOSED)
    page.change_theme(theme)
    page.run_all()
    output, closed = page.output(1), page.output(4)
    wait_for_desk(output)
    expect(output.locator(".livedb-chart button").first).to_be_enabled()
    expect(page.output(3).locator(".livedb-explorer tbody tr").first).to_be_visible()
    expect(closed.locator(".livedb")).to_have_attribute("data-state", "live")
    page.execute("closed.close()")
    expect(closed.locator(".livedb")).to_have_attribute("data-state", "closed")
    page.page.add_script_tag(path=AXE)
    page.page.add_style_tag(content=SHOWN_TO_AXE)
    assert_accessible(page)
    page.output(3).locator("tbody").last.get_by_role("button").first.click()
    expect(page.output(3).locator(".livedb-changes")).to_be_visible()
    for name in ("filter", "columns", "export", "add"):
        output.get_by_role("button", name=name, exact=True).click()
    output.locator("tbody td[data-column='1']").nth(2).click()
    page.page.keyboard.press("Enter")
    expect(output.get_by_label("edit title")).to_be_editable()
    assert_accessible(page)
    page.screenshot(f"axe-{theme}")
    page.restart_kernel()
    expect(output.locator(".livedb")).to_have_attribute("data-state", "stale")
    for at in (2, 3):
        advice = page.output(at).locator(".livedb-panel .livedb-advice").first
        expect(advice).to_be_visible()
        expect(advice).to_have_css("text-indent", "0px")  # a table's is set otherwise
    assert_accessible(page)
    page.cell(4).scroll_into_view_if_needed()
    page.screenshot(f"axe-{theme}-stale")


FLASHES = """() => {
    window.flashes = [];
    const {animate} = Element.prototype;
    Element.prototype.animate = function (frames, options) {
        if (this.closest(".livedb")) window.flashes.push(frames.map(({boxShadow}) => boxShadow));
        return animate.call(this, frames, options);
    };
}"""


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_what_changes_fades_only_for_readers_who_may_see_motion(open_notebook, motion):
    page = open_notebook(f"motion-{motion}", SETUP, SHOW)
    page.page.emulate_media(reduced_motion=motion)
    page.run_all()
    wait_for_desk(page.output(1))
    page.page.evaluate(FLASHES)
    page.execute("db['tasks'].patch(db['tasks'].first()._id, {'title': 'changed'})")
    expect(page.output(1).locator(".livedb tbody tr").first).to_contain_text("changed")
    flashes = page.page.evaluate("window.flashes")
    assert flashes != []
    is_still = motion == "reduce"
    assert [len(set(frames)) == 1 for frames in flashes] == [is_still] * len(flashes)
    page.page.emulate_media(reduced_motion="no-preference")
    page.reload()  # the next notebook gets the page as it was
