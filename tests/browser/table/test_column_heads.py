"""What heads of columns tell in a real JupyterLab, and what a click on them does."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.table.test_live_table import SETUP, rows_of, wait_for_desk

pytestmark = pytest.mark.browser


def test_heads_follow_commits_and_filter_by_a_click(open_notebook):
    page = open_notebook("heads", SETUP, "source, table = make(2_000)\ntable")
    page.run_all()
    output = page.output(1)
    heads = output.locator(".livedb-heads td")
    city, delay, due = heads.nth(2), heads.nth(3), heads.nth(5)
    expect(city.locator("button").first).to_have_attribute("title", "Lima: 223 rows, 11 %")
    expect(delay.locator(".livedb-figures")).to_have_attribute(
        "title", "integer, -20 to 159, no nulls"
    )
    expect(due.locator(".livedb-nulls")).to_have_text("20 % null")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("heads-light")

    delay.locator("button").first.click()
    footer = output.locator(".livedb-footer")
    expect(footer).to_contain_text("112 rows of 2,000")
    expect(delay.locator("button").first).to_have_attribute("aria-pressed", "true")
    # What the bar counted is what the click finds.
    expect(delay.locator("button").first).to_have_attribute(
        "title", "-20..<-10: 112 of 112 rows, 6 %"
    )
    page.change_theme("dark")
    expect(page.page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    page.screenshot("heads-filtered-dark")
    page.change_theme("light")

    # A commit changes the figures; the focus stays in the bar.
    delay.locator("button").first.focus()
    page.execute("source.commit({key(0): {'delay': 5000}})")
    expect(delay.locator(".livedb-figures")).to_have_attribute(
        "title", "integer, -20 to 5000, no nulls"
    )
    assert page.page.evaluate("document.activeElement.closest('.livedb-chart') !== null")
    page.page.keyboard.press("Escape")
    assert page.page.evaluate("document.activeElement.role") == "grid"
    assert page.page.evaluate("window.pwned") is None


def test_the_keyboard_reaches_the_bars(open_notebook):
    page = open_notebook("heads-keys", SETUP, "source, table = make(100)\ntable")
    page.run_all()
    output, press = page.output(1), page.page.keyboard.press
    expect(output.locator(".livedb-heads td").nth(1).locator("button").first).to_be_enabled()
    wait_for_desk(output)
    rows_of(output).first.locator("td").nth(1).click()
    press("v")
    press("ArrowRight")
    press("Enter")
    expect(output.locator(".livedb-footer")).to_contain_text("of 100")
    expect(output.locator(".livedb-heads td").nth(1).locator("button").nth(1)).to_have_attribute(
        "aria-pressed", "true"
    )


def test_of_thousands_of_columns_those_in_sight_are_on_the_page(open_notebook):
    wide = (
        "source = MemorySource.of_table(pa.table({f'c{n}': list(range(40)) for n in range(5000)}))"
    )
    page = open_notebook("heads-wide", SETUP, f"{wide}\ntable = LiveTable(source)\ntable")
    page.run_all()
    output = page.output(1)
    bars_of = ".livedb-heads [data-column='{}'] .livedb-chart button"
    expect(output.locator(bars_of.format(0)).first).to_be_enabled()
    output.locator(".livedb-scroller").evaluate("each => { each.scrollLeft = 1e9 }")
    expect(output.locator(bars_of.format(4999)).first).to_be_enabled()
    expect(output.locator("td[id$='-7-4999']")).to_have_text("7")
    expect(output.locator("th[data-column='4999']")).to_have_attribute("aria-colindex", "5000")
    assert output.locator("td").count() < 2_000
