"""A table is edited in place in a real JupyterLab."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.table.test_live_table import wait_for_desk

pytestmark = pytest.mark.browser

SETUP = """\
from datetime import UTC, datetime
from typing import Literal
import livedb

db = livedb.open()

@db.table("tasks")
class Task:
    title: str
    n: int
    status: Literal["todo", "done"] = "todo"
    due: datetime | None = None

for number in range(40):
    db["tasks"].insert({"title": f"task {number}", "n": number})

def title(n):
    return db["tasks"].filter(lambda q: q.eq(q.field("n"), n)).first().title
"""
SHOW = "shown = db['tasks'].live()\nshown"


def cell(output: Locator, row: int, column: str) -> Locator:
    heads = output.locator("table[role=grid]").get_by_role("columnheader")
    expect(heads.first).to_be_visible()
    names = [heads.nth(at).inner_text().split("\n")[0] for at in range(heads.count())]
    return (
        output.locator("table[role=grid] tbody tr").nth(row).locator("td").nth(names.index(column))
    )


def test_a_reader_edits_while_others_do(open_notebook):
    page = open_notebook("edited", SETUP, SHOW)
    page.run_all()
    output = page.output(1)
    first = cell(output, 0, "title")
    expect(first).to_have_text("task 0")
    wait_for_desk(output)
    grid = output.get_by_role("grid")
    expect(grid).to_have_attribute("aria-readonly", "false")

    # Typed, committed with Enter, and the table has the keyboard again.
    first.dblclick()
    editor = output.get_by_label("edit title")
    expect(editor).to_be_editable()
    expect(editor).to_have_value("task 0")
    editor.fill("write the docs")
    editor.press("Enter")
    expect(first).to_have_text("write the docs")
    expect(editor).to_have_count(0)
    expect(grid).to_be_focused()

    # What will not do is said while it is typed.
    cell(output, 1, "n").click()
    page.page.keyboard.press("Enter")
    editor = output.get_by_label("edit n")
    expect(editor).to_be_editable()
    editor.fill("1x")
    problem = output.get_by_text("'1x' is not a whole number.")
    expect(problem).to_be_visible()
    expect(editor).to_have_attribute("aria-invalid", "true")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("editing-light")
    page.change_theme("dark")
    page.screenshot("editing-dark")
    page.change_theme("light")
    editor.press("Escape")
    expect(cell(output, 1, "n")).to_have_text("1")

    # An edit under way outlives what happens to its row, and overwrites nobody unasked.
    third = cell(output, 2, "title")
    third.dblclick()
    editor = output.get_by_label("edit title")
    expect(editor).to_be_editable()
    editor.fill("mine")
    page.execute(
        "key = db['tasks'].filter(lambda q: q.eq(q.field('n'), 2)).first()._id\n"
        "db['tasks'].patch(key, {'title': 'theirs'})"
    )
    expect(third).to_have_text("theirs")
    expect(editor).to_have_value("mine")
    editor.press("Enter")
    expect(output.get_by_text("Changed meanwhile to 'theirs'.")).to_be_visible()
    assert page.value("title(2)") == "'theirs'"
    page.screenshot("editing-conflict")
    editor.press("Enter")
    expect(third).to_have_text("mine")

    # Undone, done again, emptied.
    page.page.keyboard.press("Control+z")
    expect(third).to_have_text("theirs")
    expect(output.get_by_role("status").last).to_have_text("Took back the change of title.")
    page.page.keyboard.press("Control+y")
    expect(third).to_have_text("mine")
    due = cell(output, 2, "due")
    due.dblclick()
    editor = output.get_by_label("edit due")
    expect(editor).to_be_editable()
    editor.fill("2026-03-01 14:30")
    editor.press("Enter")
    expect(due).to_have_text("2026-03-01 14:30:00")
    due.click()
    page.page.keyboard.press("Delete")
    expect(due).to_have_text("null")


def test_what_looks_like_markup_is_edited_as_text(open_notebook):
    page = open_notebook("hostile", SETUP, SHOW)
    page.run_all()
    wait_for_desk(page.output(1))
    output = page.output(1)
    evil = "<img src=x onerror='window.pwned=1'>"
    first = cell(output, 0, "title")
    first.dblclick()
    editor = output.get_by_label("edit title")
    expect(editor).to_be_editable()
    editor.fill(evil)
    editor.press("Enter")
    expect(first).to_have_text(evil)
    status = cell(output, 0, "status")
    status.dblclick()
    editor = output.get_by_label("edit status")
    expect(editor).to_be_editable()
    editor.fill(evil)
    editor.press("Enter")
    expect(output.locator(".livedb-problem")).to_contain_text("is not todo or done")
    assert page.page.evaluate("window.pwned") is None


def test_rows_are_added_and_deleted(open_notebook):
    page = open_notebook("added", SETUP, SHOW)
    page.run_all()
    output, press = page.output(1), page.page.keyboard.press
    wait_for_desk(output)
    output.get_by_role("button", name="add").click()
    panel = output.get_by_role("group", name="a new row")
    panel.get_by_label("n", exact=True).fill("1x")
    expect(panel.get_by_text("n: '1x' is not a whole number.")).to_be_visible()
    panel.get_by_label("n", exact=True).fill("1000")
    panel.get_by_label("title").fill("a new one")
    expect(panel.get_by_text("is not a whole number")).to_have_count(0)
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("adding-light")
    panel.get_by_label("title").press("Enter")
    expect(output.locator(".livedb-footer")).to_contain_text("41 rows")
    expect(panel.get_by_label("title")).to_have_value("")
    assert page.value("title(1000)") == "'a new one'"
    press("Escape")
    output.get_by_label("search all columns").fill("a new")
    expect(output.locator(".livedb tbody tr")).to_have_count(1)
    cell(output, 0, "n").click()
    press("Space")
    press("Delete")
    output.get_by_role("button", name="delete 1 row").click()
    expect(output.get_by_text("no rows are like that")).to_be_visible()
    expect(output.get_by_text("Deleted 1 row.")).to_be_visible()
    assert page.value("db['tasks'].count()") == "40"
    output.locator("table[role=grid]").focus()
    press("Control+z")
    expect(output.get_by_text("Took back 1 deleted row.")).to_be_visible()
    expect(output.locator(".livedb tbody tr")).to_have_count(1)
    press("Control+z")
    expect(output.get_by_text("Took back 1 added row.")).to_be_visible()
    assert page.value("db['tasks'].count()") == "40"


def assert_inside(part: Locator, box: Locator) -> None:
    """Nothing cuts `part` off: it lies within `box`, and is in sight as a whole."""
    expect(part).to_be_in_viewport(ratio=1)
    inner, outer = part.bounding_box(), box.bounding_box()
    assert inner is not None
    assert outer is not None
    assert inner["y"] >= outer["y"]
    assert inner["y"] + inner["height"] <= outer["y"] + outer["height"] + 1
    assert inner["x"] >= outer["x"]
    assert inner["x"] + inner["width"] <= outer["x"] + outer["width"] + 1


@pytest.mark.parametrize("count", [1, 40])
def test_a_conflict_is_readable_in_the_last_row(open_notebook, count):
    page = open_notebook(f"conflict-{count}", SETUP.replace("range(40)", f"range({count})"), SHOW)
    page.run_all()
    output, press = page.output(1), page.page.keyboard.press
    wait_for_desk(output)
    cell(output, 0, "title").click()
    press("Control+End")
    last = output.locator(f"table[role=grid] tr[aria-rowindex='{count + 1}'] td").nth(1)
    last.dblclick()
    editor = output.get_by_label("edit title")
    expect(editor).to_be_editable()
    editor.fill("mine")
    page.execute(
        f"key = db['tasks'].filter(lambda q: q.eq(q.field('n'), {count - 1})).first()._id\n"
        "db['tasks'].patch(key, {'title': 'theirs ' * 30})"
    )
    editor.press("Enter")
    problem = output.locator(".livedb-problem")
    expect(problem).to_contain_text("Enter: write yours over it. Escape: keep it. Changed")
    expect(problem).to_contain_text("…'.")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot(f"conflict-{count}")
    assert_inside(problem, output.locator(".livedb"))
    height = output.locator(".livedb-frame").bounding_box()["height"]
    editor.press("Escape")
    expect(problem).to_have_count(0)
    assert output.locator(".livedb-frame").bounding_box()["height"] < height


def test_an_edit_whose_row_scrolls_away_covers_no_other_and_says_whose_it_is(open_notebook):
    page = open_notebook("away", SETUP, SHOW)
    page.run_all()
    output = page.output(1)
    wait_for_desk(output)
    cell(output, 2, "title").dblclick()
    editor = output.get_by_label("edit title")
    expect(editor).to_be_editable()
    editor.fill("typed but not sent")
    scroller = output.locator(".livedb-scroller")
    scroller.evaluate("each => { each.scrollTop = 400; }")
    whose = output.get_by_text("title of row 3, out of sight")
    expect(whose).to_be_visible()
    expect(editor).to_be_focused()
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("away-light")
    edit, rows = output.locator(".livedb-edit").bounding_box(), scroller.bounding_box()
    assert edit["y"] >= rows["y"] + rows["height"] - 1
    assert edit["height"] < 80
    scroller.evaluate("each => { each.scrollTop = 0; }")
    expect(whose).to_be_hidden()
    editor.press("Enter")
    expect(cell(output, 2, "title")).to_have_text("typed but not sent")
