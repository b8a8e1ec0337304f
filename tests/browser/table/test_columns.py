"""Columns in a real JupyterLab: shown and hidden, pinned, moved and widened, while rows come."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.table.test_live_table import SETUP, rows_of, wait_for_desk

pytestmark = pytest.mark.browser


def heads_of(output: Locator) -> Locator:
    return output.locator(".livedb-pane th")


def test_a_reader_places_columns_and_commits_leave_them_there(open_notebook):
    page = open_notebook("columns", SETUP, "source, table = make(200)\ntable")
    page.run_all()
    output, mouse, press = page.output(1), page.page.mouse, page.page.keyboard.press
    heads = heads_of(output)
    expect(heads).to_have_text(list_of("_id _creationTime city delay distance due done tags note"))

    output.get_by_role("button", name="columns").click()
    output.get_by_label("_creationTime", exact=True).uncheck()
    output.get_by_role("button", name="pin city").click()
    expect(heads).to_have_text(list_of("city _id delay distance due done tags note"))
    expect(output.get_by_role("button", name="columns 8/9")).to_be_visible()
    expect(output.get_by_role("button", name="pin city")).to_be_focused()
    page.screenshot("columns")
    press("Escape")
    expect(output.locator("table[role=grid]")).to_be_focused()

    delay, due = (heads.filter(has_text=name).bounding_box() for name in ("delay", "due"))
    mouse.move(delay["x"] + 20, delay["y"] + 10)
    mouse.down()
    mouse.move(due["x"] + 20, due["y"] + 10, steps=5)
    mouse.up()
    expect(heads).to_have_text(list_of("city _id distance due delay done tags note"))
    expect(heads.filter(has_text="delay")).to_have_attribute("aria-sort", "none")

    due = heads.filter(has_text="due").bounding_box()
    mouse.move(due["x"] + due["width"] - 2, due["y"] + 10)
    mouse.down()
    mouse.move(due["x"] + due["width"] + 118, due["y"] + 10, steps=5)
    mouse.up()
    widened = heads.filter(has_text="due").bounding_box()["width"]
    assert widened == pytest.approx(due["width"] + 120, abs=3)

    page.execute("source.commit({key(3): {'city': 'Ny-\u00c5lesund'}})")
    expect(rows_of(output).nth(3).locator("td").first).to_have_text("Ny-\u00c5lesund")
    expect(heads).to_have_text(list_of("city _id distance due delay done tags note"))
    assert heads.filter(has_text="due").bounding_box()["width"] == pytest.approx(widened, abs=1)

    output.locator(".livedb-scroller").evaluate("each => { each.scrollLeft = 1e6 }")
    edge = output.locator(".livedb-scroller").bounding_box()["x"]
    for each in (heads.first, rows_of(output).first.locator("td").first):
        assert each.bounding_box()["x"] == pytest.approx(edge, abs=1)


def test_keys_place_columns(open_notebook):
    page = open_notebook("column-keys", SETUP, "source, table = make(40)\ntable")
    page.run_all()
    output, press = page.output(1), page.page.keyboard.press
    heads = heads_of(output)
    wait_for_desk(output)
    rows_of(output).first.locator("td").nth(3).click()
    press("h")
    expect(heads).to_have_text(list_of("_id _creationTime city distance due done tags note"))
    expect(rows_of(output).first.locator("td.livedb-active")).to_have_attribute("data-column", "4")
    press("<")
    press("<")
    press("p")
    expect(heads).to_have_text(list_of("distance _id _creationTime city due done tags note"))
    before = heads.first.bounding_box()["width"]
    press("+")
    assert heads.first.bounding_box()["width"] == pytest.approx(before + 24, abs=1)
    press("=")
    expect(heads.first).to_have_css("width", f"{before:g}px")
    press("ArrowRight")
    expect(rows_of(output).first.locator("td.livedb-active")).to_have_attribute("data-column", "0")
    press("c")
    page.page.keyboard.type("delay")
    press("Tab")
    expect(output.get_by_role("button", name="show all")).to_be_focused()
    press("Enter")
    expect(heads.filter(has_text="delay")).to_be_visible()


def list_of(names: str) -> list[str]:
    return names.split()
