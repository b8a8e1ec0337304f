"""Convex's introduction in a real JupyterLab, and its React page beside it, on one workspace."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.workspace.test_quickstart import rows_of, run_cell
from tests.examples.web import served_pages

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[3] / "notebooks/05_convex_in_python.ipynb"


class Introduction:
    """The notebook, open in JupyterLab; cells are named by their tags."""

    def __init__(self, notebooks):
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        self._places = {
            tag: at for at, cell in enumerate(code) for tag in cell.metadata.get("tags", [])
        }
        self._ran = 0
        self.page = notebooks.open_file("convex-in-python", notebook)

    def run_to(self, tag):
        """Run the cells up to and including the one with this tag; gives its output."""
        while self._ran <= self._places[tag]:
            run_cell(self.page, self._ran)
            self._ran += 1
        return self.output(tag)

    def output(self, tag):
        return self.page.output(self._places[tag])

    def screenshots(self, name):
        for theme in ("light", "dark"):
            self.page.change_theme(theme)
            self.page.screenshot(f"{name}-{theme}")
        self.page.change_theme("light")


@pytest.fixture
def introduction(notebooks):
    return Introduction(notebooks)


@pytest.fixture
def react(browser, tmp_path):
    """`react(url)`: the React page at the link that the notebook prints."""
    pages, errors = [], []
    with served_pages(tmp_path) as served:

        def open_page(link):
            context = browser.new_context(viewport={"width": 760, "height": 620})
            pages.append(context.new_page())
            pages[-1].on("pageerror", lambda error: errors.append(str(error)))
            pages[-1].goto(link.replace("http://127.0.0.1:5173/", served))
            return pages[-1]

        yield open_page
        for each in pages:
            if folder := os.environ.get("BROWSER_SCREENSHOTS"):
                each.screenshot(path=Path(folder) / "convex-in-python-react.png")
            each.context.close()
    assert errors == []


def test_use_query_of_the_official_package_and_the_notebook_show_the_same_tasks(
    introduction, react
):
    shown = introduction.run_to("after-create")
    expect(rows_of(shown)).to_have_count(2)
    page = react(introduction.run_to("page").inner_text().strip())
    tasks = page.locator("li .title")
    expect(tasks).to_have_text(["Write the report", "Read the introduction"])
    expect(page.locator("li").first).to_have_attribute("data-done", "true")

    # A cell commits, and the page shows it.
    introduction.run_to("seen-by-the-page")
    expect(tasks).to_have_text(["Look at the page", "Write the report", "Read the introduction"])

    # The page commits, and the table under the cell above shows it, without a cell.
    page.get_by_label("New task").fill("Come from the page")
    page.get_by_role("button", name="Add").click()
    expect(rows_of(shown).first).to_contain_text("Come from the page")
    page.get_by_role("checkbox").first.click()
    expect(page.locator("li").first).to_have_attribute("data-done", "true")

    # What the daily job does is seen by both.
    introduction.run_to("after-cron")
    expect(tasks).to_have_text(["Look at the page", "Read the introduction"])
    expect(rows_of(shown)).to_have_count(2)


def test_an_uploaded_picture_is_shown_in_a_live_table(introduction):
    for tag in ("users", "after-create", "page"):
        introduction.run_to(tag)
        introduction.screenshots(f"convex-in-python-{tag}")
    files = introduction.run_to("files")
    expect(rows_of(files)).to_have_count(1)
    picture = files.locator("td img")
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("naturalWidth", 72)
    introduction.screenshots("convex-in-python-files")
    for tag in ("crons", "sql"):
        introduction.run_to(tag)
        introduction.screenshots(f"convex-in-python-{tag}")
