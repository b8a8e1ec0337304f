"""Two people in two JupyterLab notebooks, each with a kernel: one workspace, seen by both."""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.serve_process import ServeProcess

pytestmark = pytest.mark.browser

IMPORTS = """\
import os
import livedb
from livedb import Id, MutationContext, QueryContext
"""

OPEN = "db = livedb.open('birds.livedb')\n"

DEFINE = """\
@db.table("sightings", indexes={"by_place": ["place"]})
class Sighting:
    species: str
    count: int
    place: str
    by: str

@db.query
def seen_at(ctx: QueryContext, place: str) -> list[Sighting]:
    return ctx.db.query(Sighting).with_index("by_place", place=place).order("desc").take(10)

@db.mutation
def report(ctx: MutationContext, species: str, count: int, by: str) -> Id[Sighting]:
    row = {"species": species, "count": count, "place": "lake", "by": by}
    return ctx.db.insert("sightings", row)
"""

FIRST_ROWS = """\
for species, count in [("Grey heron", 2), ("Kingfisher", 1), ("Mallard", 12)]:
    report(species=species, count=count, by="Ana")
"""

SERVE = "service = db.serve(port={port})\nservice"

INVITE = 'path = db.invite("editor", name="Ben").save("invitation")'

CONNECT = "db = livedb.connect(open('invitation').read().strip())\n"

LAKE = "lake = db.function('seen_at').live(place='lake')\nlake"

TOTALS = (
    'totals = db.sql("select species, sum(count) as birds from sightings '
    'group by species order by birds desc, species").live()\ntotals'
)


MODULE = """\
from livedb import mutation, query

@query
def seen_at(ctx, place: str) -> list:
    return ctx.db.query("sightings").order("desc").take(10)

@mutation
def report(ctx, species: str, count: int, by: str) -> str:
    row = {"species": species, "count": count, "place": "lake", "by": by}
    return ctx.db.insert("sightings", row)
"""


def rows_of(output: Locator) -> Locator:
    return output.locator(".livedb tbody tr")


def state_of(output: Locator) -> Locator:
    return output.locator(".livedb")


def commit_of(output: Locator) -> int:
    return int(re.search(r"commit (\d+)", output.locator(".livedb-footer").inner_text())[1])


def run_cells(page, *indexes: int) -> None:
    """Run code cells, one after the other; returns when the last has run."""
    for index in indexes:
        page.page.evaluate(
            """index => {
                const {content} = window.jupyterapp.shell.currentWidget;
                const code = content.widgets.filter(each => each.model.type === 'code');
                content.activeCellIndex = content.widgets.indexOf(code[index]);
            }""",
            index,
        )
        page.command("notebook:run-cell")


@pytest.fixture
def open_pair(open_notebook, lab):
    """`open_pair(how Ben comes in)`: Ana's page and Ben's, with their tables in cells 2 and 3."""

    def open_pair(come_in):
        shutil.rmtree(lab.root / "birds.livedb", ignore_errors=True)
        (lab.root / "invitation").unlink(missing_ok=True)
        mine = (IMPORTS + OPEN + DEFINE, FIRST_ROWS, LAKE, TOTALS, SERVE.format(port=0), INVITE)
        ana = open_notebook("ana", *mine, "report(species='Tawny owl', count=1, by='Ana')")
        run_cells(ana, *range(6))
        his = (IMPORTS + come_in, "db", LAKE, TOTALS)
        ben = open_notebook("ben", *his, "db.function('report')(species='Wren', count=4, by='Ben')")
        run_cells(ben, *range(4))
        for page in (ana, ben):
            for output in (page.output(2), page.output(3)):
                expect(rows_of(output)).to_have_count(3)
                expect(state_of(output)).to_have_attribute("data-state", "live")
        return ana, ben

    return open_pair


@pytest.mark.parametrize("come_in", [CONNECT, OPEN], ids=["invited", "attached"])
def test_a_commit_in_one_notebook_changes_the_page_of_another_in_place(open_pair, come_in):
    ana, ben = open_pair(come_in)
    for page in (ana, ben):
        rows_of(page.output(2)).first.evaluate("row => { row.dataset.witness = 'kept' }")
    run_cells(ana, 6)
    for page in (ana, ben):
        rows = rows_of(page.output(2))
        expect(rows).to_have_count(4)
        expect(rows.first).to_contain_text("Tawny owl")
        # In place: the row that was first is the same row, now the second.
        expect(rows.nth(1)).to_have_attribute("data-witness", "kept")
        expect(rows_of(page.output(3)).last).to_contain_text("Tawny owl")
    run_cells(ben, 4)
    for page in (ben, ana):
        expect(rows_of(page.output(2)).first).to_contain_text("Wren")
        expect(rows_of(page.output(2)).nth(2)).to_have_attribute("data-witness", "kept")
        expect(rows_of(page.output(3)).nth(1)).to_contain_text("Wren")
    # Both of a page, and both pages, come to rest at one commit.
    number = commit_of(ana.output(2))
    for page in (ana, ben):
        for output in (page.output(2), page.output(3)):
            expect(output.locator(".livedb-footer")).to_contain_text(f"commit {number}")
    if come_in == CONNECT:
        take_pictures(ana, ben)


def take_pictures(ana, ben) -> None:
    """Those of the README: what Ben has just committed is lit on both pages."""
    if "BROWSER_SCREENSHOTS" not in os.environ:
        return
    for theme, species in [("light", "Great crested grebe"), ("dark", "Goldfinch")]:
        for page in (ana, ben):
            page.change_theme(theme)
            page.page.set_viewport_size({"width": 800, "height": 660})
            page.cell(2).evaluate("each => each.scrollIntoView({block: 'start'})")
            session = page.page.context.new_cdp_session(page.page)
            session.send("Animation.enable")
            session.send("Animation.setPlaybackRate", {"playbackRate": 0.02})
        ben.execute(f"db.function('report')(species='{species}', count=3, by='Ben')")
        for page in (ana, ben):
            expect(rows_of(page.output(2)).first).to_contain_text(species)
        save_together(f"collaborate-{theme}", ana, ben)


def save_together(name, *pages) -> None:
    """Keep one picture of several pages, side by side."""
    shots = [base64.b64encode(page.page.screenshot()).decode() for page in pages]
    images = "".join(f'<img src="data:image/png;base64,{shot}">' for shot in shots)
    frame = pages[0].page.context.new_page()
    frame.set_viewport_size({"width": 1608, "height": 660})
    frame.set_content(
        f'<body style="margin: 0; display: flex; gap: 8px; background: #888">{images}</body>'
    )
    frame.screenshot(path=Path(os.environ["BROWSER_SCREENSHOTS"]) / f"{name}.png")
    frame.close()


def test_when_the_owning_kernel_dies_the_other_says_so_and_comes_back(open_pair, open_notebook):
    ana, ben = open_pair(CONNECT)
    port = ana.value("service.options.port")
    os.kill(int(ana.value("os.getpid()")), signal.SIGKILL)
    for output in (ben.output(2), ben.output(3)):
        expect(output.get_by_role("alert")).to_contain_text("Reconnecting")
        expect(state_of(output)).not_to_have_attribute("data-state", "live")
        expect(rows_of(output)).to_have_count(3)
    ben.screenshot("collaborate-reconnecting")
    # Ana is back, in another notebook, and serves the workspace where it was served.
    ana = open_notebook("ana-again", IMPORTS + OPEN + DEFINE, SERVE.format(port=port))
    run_cells(ana, 0, 1)
    for output in (ben.output(2), ben.output(3)):
        expect(state_of(output)).to_have_attribute("data-state", "live")
        expect(output.get_by_role("alert")).to_be_hidden()
    ana.execute("report(species='Tawny owl', count=1, by='Ana')")
    expect(rows_of(ben.output(2)).first).to_contain_text("Tawny owl")
    run_cells(ben, 4)
    assert ana.value("[each.species for each in seen_at(place='lake')][0]") == "'Wren'"


@pytest.fixture
def served_birds(tmp_path):
    """A workspace served by a process with functions of its own, and the key to it."""
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / "lake.py").write_text(MODULE)
    key = secrets.token_hex(16)
    options = ("--functions", functions, "--admin-key", key)
    service = ServeProcess(tmp_path / "birds.livedb", *options)
    yield service, key
    service.kill()


def test_a_service_killed_and_started_again_under_both_loses_nothing(open_notebook, served_birds):
    service, key = served_birds
    come_in = f"db = livedb.connect({service.url!r}, token={key!r})"
    lake = LAKE.replace("seen_at", "lake:seen_at")
    report = "db.function('lake:report')(species={species!r}, count=1, by='somebody')"
    pages = [open_notebook(name, IMPORTS + come_in, "db", lake, TOTALS) for name in ("ana", "ben")]
    pages[0].execute(IMPORTS + come_in)
    pages[0].execute(report.format(species="Grey heron"))
    for page in pages:
        run_cells(page, *range(4))
    service.kill()
    for page in pages:
        for output in (page.output(2), page.output(3)):
            expect(output.get_by_role("alert")).to_contain_text("Reconnecting")
            expect(rows_of(output)).to_have_count(1)
    service.start()
    for page, species in zip(pages, ("Wren", "Mallard"), strict=True):
        page.execute(report.format(species=species))
    for page in pages:
        for output in (page.output(2), page.output(3)):
            expect(output.get_by_role("alert")).to_be_hidden()
            expect(rows_of(output)).to_have_count(3)
        expect(rows_of(page.output(2)).first).to_contain_text("Mallard")
