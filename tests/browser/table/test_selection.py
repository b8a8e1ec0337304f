"""Rows are selected on a page, read in the kernel, copied and downloaded, in a real JupyterLab."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.table.test_live_table import rows_of, wait_for_desk

pytestmark = pytest.mark.browser

SETUP = """\
import livedb
db = livedb.open()
for n in range(300):
    db["cities"].insert({"name": f"=city({n})", "n": n})
cities = db["cities"].live()
"""


def test_what_is_selected_is_read_in_the_kernel_and_downloaded(open_notebook):
    page = open_notebook("selected", SETUP, "cities")
    page.run_all()
    output, press = page.output(1), page.page.keyboard.press
    wait_for_desk(output)
    rows = rows_of(output)
    rows.nth(1).locator("td").nth(1).click()
    rows.nth(4).locator("td").nth(1).click(modifiers=["Control"])
    expect(output.locator("tr[aria-selected=true]")).to_have_count(2)
    page.wait_in_kernel("cities.selection.df['n'].tolist() == [1, 4]")
    page.execute("db['cities'].patch(cities.selection.keys[0], {'n': 1000})")
    expect(rows.nth(1)).to_contain_text("1000")
    expect(output.locator("tr[aria-selected=true]")).to_have_count(2)
    page.wait_in_kernel("cities.selection.df['n'].tolist() == [1000, 4]")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("selected-light")

    output.get_by_role("button", name="export").click()
    expect(output.get_by_text("2 selected rows as")).to_be_visible()
    with page.page.expect_download() as download:
        output.get_by_role("button", name="CSV").click()
    text = Path(download.value.path()).read_text()
    assert download.value.suggested_filename == "cities.csv"
    assert [line.split(",")[1:3] for line in text.splitlines()] == [
        ["name", "n"],
        ["'=city(1)", "1000"],
        ["'=city(4)", "4"],
    ]
    press("Escape")
    press("Escape")
    expect(output.locator("tr[aria-selected=true]")).to_have_count(1)

    page.change_theme("dark")
    page.screenshot("selected-dark")
    page.change_theme("light")
    # All of them, though the page holds some fifty; and only those that a filter leaves.
    output.locator("table[role=grid]").focus()
    press("Control+a")
    page.wait_in_kernel("len(cities.selection) == 300")
    press("Escape")
    output.get_by_label("search all columns").fill("city(29")
    expect(output.locator(".livedb-footer")).to_contain_text("11 rows of 300")
    rows.first.locator("td").nth(1).click()
    press("Control+a")
    page.wait_in_kernel("len(cities.selection) == 11")
    output.get_by_role("button", name="export").click()
    with page.page.expect_download() as download:
        output.get_by_role("button", name="Parquet").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"PAR1"


def test_an_id_leads_to_its_document(open_notebook):
    linked = """\
import livedb
db = livedb.open()
ana = db["users"].insert({"name": "Ana", "town": "Oslo"})
@db.table("tasks")
class Task:
    user: livedb.Id["users"]
    n: int
for n in range(20):
    db["tasks"].insert({"user": ana, "n": n})
"""
    page = open_notebook("linked", linked, "db['tasks'].live()")
    page.run_all()
    output = page.output(1)
    wait_for_desk(output)
    rows_of(output).nth(2).locator("td").nth(1).locator("span").click()
    panel = output.get_by_role("group", name="document")
    expect(panel).to_contain_text("users")
    expect(panel).to_contain_text("Oslo")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("reference-light")
    page.page.keyboard.press("Escape")
    expect(output.locator("table[role=grid]")).to_be_focused()
    page.page.keyboard.press("ArrowLeft")
    page.page.keyboard.press("o")
    expect(panel).to_contain_text("tasks")
    panel.locator(".livedb-places-list button").click()
    expect(panel).to_contain_text("Oslo")
    panel.get_by_role("button", name="back").click()
    expect(panel).to_contain_text("tasks")
