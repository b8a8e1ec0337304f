"""The notebook on data models in a real JupyterLab: edited, filled in, and followed everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.table.test_editing import cell
from tests.browser.table.test_live_table import wait_for_desk
from tests.browser.workspace.test_quickstart import slow_animations

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[3] / "notebooks/02_data_models.ipynb"


def rows_of(table: Locator) -> Locator:
    return table.locator("table[role=grid] tbody tr")


@pytest.fixture
def opened(notebooks):
    """The notebook when all its cells have run but the last, which closes the workspace."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.pop()
    page = notebooks.open_file("data-models", notebook)
    page.page.set_viewport_size({"width": 1000, "height": 1000})
    page.run_all()
    return page, [each.source for each in notebook.cells if each.cell_type == "code"]


def test_a_model_comes_to_light_is_edited_and_filled_in(opened):
    page, sources = opened
    pile, edited, desk = (
        page.output(next(at for at, source in enumerate(sources) if source.endswith(ending)))
        for ending in ("\nrepairs", "display(repairs, guests)", "status=status)))")
    )
    repairs, guests = edited.locator(".livedb").first, edited.locator(".livedb").last
    form, waiting = desk.locator(".livedb-form"), desk.locator(".livedb")

    # Tightened and migrated: what was a number, a text or an object is what the class says.
    for table in (pile, repairs):
        expect(rows_of(table)).to_have_count(9)
        expect(table.get_by_role("columnheader").filter(has_text="minutes")).to_have_count(1)
        expect(cell(table, 1, "model")).to_have_text("3310")
        expect(cell(table, 3, "minutes")).to_have_text("30")

    # Edited in place; the other views follow.
    wait_for_desk(repairs)
    expect(rows_of(waiting).filter(has_text="Desk lamp")).to_have_count(1)
    cell(repairs, 2, "status").dblclick()
    editor = repairs.get_by_label("edit status")
    expect(editor).to_be_editable()
    editor.fill("repaired")
    problem = repairs.locator(".livedb-problem")
    expect(problem).to_contain_text("is not waiting, fixed or gave up")
    said, frame = problem.bounding_box(), repairs.locator(".livedb-frame").bounding_box()
    assert frame["x"] <= said["x"]
    assert said["x"] + said["width"] <= frame["x"] + frame["width"]
    page.screenshot("data-models-refused")
    editor.fill("fixed")
    editor.press("Enter")
    for table in (repairs, pile):
        expect(cell(table, 2, "status")).to_have_text("fixed")
    expect(rows_of(waiting).filter(has_text="Desk lamp")).to_have_count(0)

    # An id leads to its document.
    cell(repairs, 0, "guest").get_by_text(re.compile("^j")).click()
    expect(repairs.get_by_text("Ida Holm")).to_be_visible()
    page.screenshot("data-models-document")
    page.page.keyboard.press("Escape")

    # A row is added, unless the unique index has its name already.
    wait_for_desk(guests)
    guests.get_by_role("button", name="add").click()
    name = guests.get_by_role("group", name="a new row").get_by_label("name")
    name.fill("Ida Holm")
    name.press("Enter")
    expect(guests.get_by_role("group", name="a new row")).to_contain_text("by_name")
    page.screenshot("data-models-unique")
    name.fill("Olga Brandt")
    name.press("Enter")
    expect(rows_of(guests).filter(has_text="Olga Brandt")).to_have_count(1)

    # She brings something: the form finds her, and every view has it.
    picker = form.get_by_role("combobox", name=re.compile("guest"))
    picker.press_sequentially("olg")
    expect(form.locator(".livedb-option")).to_have_count(1)
    picker.press("Enter")
    form.get_by_label("item").fill("Umbrella")
    form.get_by_label("fault").fill("will not open")
    form.get_by_label("fault").press("Enter")
    expect(form.get_by_role("status").last).to_contain_text("done")
    expect(rows_of(waiting).last).to_contain_text("Olga Brandt")
    for table in (pile, repairs):
        expect(rows_of(table)).to_have_count(10)
        expect(cell(table, 9, "item")).to_have_text("Umbrella")

    # The buttons are an argument.
    desk.get_by_role("button", name="fixed").click()
    expect(rows_of(waiting).first).to_contain_text("Kettle")
    expect(rows_of(waiting).filter(has_text="Desk lamp")).to_have_count(1)
    desk.get_by_role("button", name="waiting").click()
    expect(rows_of(waiting).first).to_contain_text("Radio")

    # Nothing complains but the class that was refused.
    errors = page.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")
    expect(errors).to_have_count(1)
    expect(errors).to_contain_text("SchemaChangeError")
    expect(page.page.locator("[role=alert]:visible")).to_have_count(0)
    take_pictures(page, waiting)


def take_pictures(page, waiting: Locator) -> None:
    """All of the notebook, and that of the README: what was just brought in is lit."""
    cells = page.page.locator(".jp-Notebook .jp-Cell")
    page.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
    for theme, item in (("light", "Bicycle bell"), ("dark", "Alarm clock")):
        page.change_theme(theme)
        for at in range(0, cells.count(), 3):
            cells.nth(at).evaluate("each => each.scrollIntoView({block: 'start'})")
            page.screenshot(f"data-models-{theme}-{at:02}")
        heading = page.page.get_by_role("heading", name="A form for the front desk")
        heading.evaluate("each => each.scrollIntoView({block: 'start'})")
        slow_animations(page)  # a loaded machine may need a second for the picture
        page.execute(
            f"bring_in(guest=db['guests'].first()._id, item={item!r}, fault='is too quiet')"
        )
        expect(rows_of(waiting).last).to_contain_text(item)
        page.screenshot(f"data-models-{theme}")
