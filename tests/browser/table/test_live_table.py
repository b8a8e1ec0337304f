"""The live table in a real JupyterLab, driven by a result in memory.

What a person would notice: rows move while a cell runs, nothing jumps or loses its selection, a
missed message repairs itself, a dead kernel shows as dead.
"""

from __future__ import annotations

import re

import nbformat
import pytest
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.browser

SETUP = """\
import time, threading
from datetime import datetime, UTC, timedelta
import pyarrow as pa
from livedb.notebook.rows import state_of_value
from livedb.notebook.widgets import LiveTable
from tests.notebook.memory_source import MemorySource
CITIES = ["Oslo", "Lima", "Nairobi", "Kyoto", "Porto", "Quito", "Accra", "Troms\u00f8",
    "\u0627\u0644\u0642\u0627\u0647\u0631\u0629"]
def document(n):
    return {
        "_id": f"jh7k2m4q8r1t5w9y3b6d0f{n:06d}",
        "_creationTime": 1.79e12 + n * 61_237.25,
        "city": CITIES[n % 9], "delay": (n * 37) % 180 - 20, "distance": n * 17.25 / 3,
        "due": datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(hours=n * 7) if n % 5 else None,
        "done": n % 3 == 0, "tags": [{"tag": "a", "n": n}],
        "note": [None, "", "see\\nbelow", "<img src=x onerror='window.pwned=1'>"][n % 4],
    }
FIELDS = {name: "any" for name in document(0)} | {"_id": "id", "tags": "json"}
def make(count, title="worst_delays(airport='OSL')"):
    source = MemorySource([document(n) for n in range(count)], title=title, fields=FIELDS)
    table = LiveTable(source)
    source.notify = table.notify
    return source, table
def key(n): return document(n)["_id"]
"""


def rows_of(output: Locator) -> Locator:
    return output.locator(".livedb tbody tr")


def wait_for_desk(output: Locator) -> None:
    """Returns once the table can be worked with, a moment after its first rows."""
    expect(output.locator(".livedb-tools input").first).to_be_enabled()


def first_index(output: Locator) -> int:
    """Position in the result of the row at the top."""
    return int(rows_of(output).first.get_attribute("aria-rowindex") or 0) - 2


def test_a_table_is_drawn_and_follows_cell_by_cell(open_notebook):
    page = open_notebook("follows", SETUP, "source, table = make(200)\ntable")
    page.run_all()
    rows = rows_of(page.output(1))
    expect(rows).to_have_count(15)
    expect(rows.first).to_contain_text("Oslo")
    expect(page.output(1).locator(".livedb")).to_have_attribute("data-state", "live")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("follows-before")
    rows.nth(2).evaluate("row => { row.dataset.witness = 'kept' }")
    page.execute("source.commit({key(1): {'city': 'Cusco', 'delay': 999}, key(5): None})")
    expect(rows.nth(1)).to_contain_text("Cusco")
    page.screenshot("follows-after")
    expect(rows.nth(5)).to_contain_text("000006")
    expect(page.output(1).locator(".livedb-footer")).to_contain_text("199 rows")
    expect(page.output(1).locator(".livedb-footer")).to_contain_text("commit 2")
    assert rows.nth(2).get_attribute("data-witness") == "kept"
    assert page.page.evaluate("window.pwned") is None


IMPATIENCE = """() => {
    const patient = AbortSignal.timeout.bind(AbortSignal);
    AbortSignal.timeout = (ms) => patient(ms === 2000 ? 0 : ms);
    return () => { AbortSignal.timeout = patient; };
}"""
"""Has anywidget give up on a widget at once that is not made, and not after its two seconds."""


def test_a_table_that_its_host_has_given_up_on_is_live(open_notebook):
    page = open_notebook("given-up", SETUP, "source, table = make(2_000)\ntable")
    restore = page.page.evaluate_handle(IMPATIENCE)
    page.run_all()
    rows = rows_of(page.output(1))
    expect(rows).to_have_count(15)
    wait_for_desk(page.output(1))
    page.execute("source.commit({key(1): {'city': 'Cusco'}})")
    expect(rows.nth(1)).to_contain_text("Cusco")
    page.output(1).locator(".livedb-scroller").evaluate("each => { each.scrollTop = 1e6 }")
    expect(rows.last).to_contain_text("001999")
    page.execute("table.close(ended='It is over.')")
    expect(page.output(1).locator(".livedb-advice")).to_contain_text("It is over.")
    restore.evaluate("restore => restore()")
    assert page.errors, "anywidget has not given up on it: this test shows nothing"
    assert all("Failed to initialize model" in error for error in page.errors), page.errors
    page.errors.clear()


def test_updates_arrive_while_a_cell_is_running(open_notebook, lab):
    busy = """\
import itertools, pathlib
for turn in itertools.count(1):
    source.commit({key(0): {'delay': turn}})
    time.sleep(0.05)
    if pathlib.Path("enough").exists():
        break
"""
    (lab.root / "enough").unlink(missing_ok=True)
    page = open_notebook("busy", SETUP, "source, table = make(10_000)\ntable", busy, "'done'")
    page.command("notebook:move-cursor-up")
    page.page.evaluate(
        """() => {
            const seen = window.seen = new Set();
            const notebook = document.querySelector('.jp-Notebook');
            new MutationObserver(() => {
                const row = notebook.querySelector('.livedb tbody tr');
                if (row?.ariaRowIndex === '2') seen.add(row.cells[3].textContent);
            }).observe(notebook, {subtree: true, childList: true, characterData: true});
        }"""
    )
    page.page.evaluate(
        """() => {
            window.isRunning = true;
            window.jupyterapp.commands.execute('notebook:run-all-cells')
                .finally(() => { window.isRunning = false; });
        }"""
    )
    output = page.output(1)
    expect(rows_of(output)).to_have_count(15)
    delay = rows_of(output).first.locator("td").nth(3)
    expect(delay).to_have_text(re.compile("^[1-9][0-9]+$"))
    # The page's own requests are answered beside the running cell.
    output.locator(".livedb-scroller").evaluate("each => { each.scrollTop = 5_000 * 26 }")
    expect(rows_of(output).first).to_contain_text("005000")
    assert page.page.evaluate("window.isRunning")
    output.locator(".livedb-scroller").evaluate("each => { each.scrollTop = 0 }")
    page.page.wait_for_function("window.seen.size > 15")
    output.get_by_label("search all columns").fill("f007777")
    expect(rows_of(output)).to_have_count(1)
    expect(rows_of(output).first).to_contain_text("007777")
    output.get_by_role("button", name="clear").click()
    expect(rows_of(output)).to_have_count(15)
    assert page.page.evaluate("window.isRunning")
    assert page.output(3).inner_text() == ""
    (lab.root / "enough").touch()
    expect(page.output(3)).to_contain_text("done")
    expect(delay).to_have_text(page.value("turn"))


def test_an_update_keeps_scroll_position_selection_and_focus(open_notebook):
    page = open_notebook("keeps", SETUP, "source, table = make(1000)\ntable")
    page.run_all()
    output = page.output(1)
    output.locator(".livedb-scroller").evaluate("each => { each.scrollTop = 400 * 26 }")
    row = rows_of(output).filter(has_text="000404")
    row.locator("td").nth(2).click()
    expect(row).to_have_attribute("aria-selected", "true")
    before = row.bounding_box()
    page.execute("source.put_first('jhfirst', {'city': 'Above'})")
    expect(output.locator(".livedb-footer")).to_contain_text("1,001 rows")
    page.execute("source.commit({key(402): {'city': 'Changed'}, key(10): None, key(11): None})")
    expect(output.locator(".livedb tbody")).to_contain_text("Changed")
    after = row.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) <= 1
    expect(row).to_have_attribute("aria-selected", "true")
    assert page.page.evaluate("document.activeElement.role") == "grid"
    page.screenshot("keeps-selection")


def test_the_keyboard_reaches_every_row(open_notebook):
    page = open_notebook("keyboard", SETUP, "source, table = make(100_000)\ntable")
    page.run_all()
    output, press = page.output(1), page.page.keyboard.press
    selected = output.locator("tr[aria-selected=true]")
    rows_of(output).first.locator("td").nth(1).click()
    press("ArrowDown")
    press("ArrowRight")
    expect(selected).to_have_attribute("aria-rowindex", "3")
    expect(output.locator("td.livedb-active")).to_have_text("Lima")
    press("PageDown")
    expect(selected).to_have_attribute("aria-rowindex", "17")
    press("End")
    expect(selected).to_have_attribute("aria-rowindex", "100001")
    expect(selected).to_contain_text("099999")
    press("Home")
    expect(selected).to_contain_text("000000")
    grid = output.locator("[role=grid]")
    active = grid.get_attribute("aria-activedescendant")
    assert page.page.evaluate("id => document.getElementById(id).textContent", active) == "Oslo"
    press("d")
    press("d")  # JupyterLab's "delete the cell"
    expect(rows_of(output)).to_have_count(15)
    press("Escape")
    assert page.page.evaluate("document.activeElement.role") != "grid"


def test_a_hundred_million_rows_scroll_to_their_end(open_notebook):
    huge = """\
class Huge(MemorySource):
    def current(self):
        from livedb.notebook.rows import RowState
        window = lambda start, stop: pa.table({"n": pa.array(range(start, stop), pa.int64())})
        return RowState(number=1, row_count=10**8, fields={}, error=None, key=None, window=window)
LiveTable(Huge(title="a hundred million"))
"""
    page = open_notebook("huge", SETUP, huge)
    page.run_all()
    scroller, rows = page.output(1).locator(".livedb-scroller"), rows_of(page.output(1))
    expect(rows.first).to_have_text("0")
    wait_for_desk(page.output(1))  # its rows under the head move the end
    scroller.evaluate("each => { each.scrollTop = each.scrollHeight }")
    expect(rows.last).to_have_text("99999999")
    scroller.evaluate("each => { each.scrollTop = each.scrollHeight / 2 }")
    expect(rows.nth(3)).to_have_text(re.compile("^[45][0-9]{7}$"))
    top = first_index(page.output(1))
    scroller.hover()
    page.page.mouse.wheel(0, 130)  # a notch moves a few rows, however many there are
    page.page.wait_for_function(
        "top => document.querySelector('.livedb tbody tr').ariaRowIndex != top + 2", arg=top
    )
    assert 1 <= first_index(page.output(1)) - top <= 10


def test_a_dropped_message_is_repaired(open_notebook):
    page = open_notebook("gap", SETUP, "source, table = make(100)\ntable")
    page.run_all()
    rows = rows_of(page.output(1))
    expect(rows).to_have_count(15)
    page.execute("""\
def lose(changes):
    lost = threading.Event()
    send = table.send
    table.send = lambda content, buffers=None: lost.set()
    source.commit(changes)
    assert lost.wait(60)
    table.send = send
""")
    page.execute("lose({key(0): {'city': 'Lost'}})\nsource.commit({key(1): {'city': 'Seen'}})")
    expect(rows.nth(1)).to_contain_text("Seen")
    expect(rows.nth(0)).to_contain_text("Lost")
    page.execute("lose({key(2): {'city': 'Last'}})")
    expect(rows.nth(2)).to_contain_text("Last")  # by the next sign of life


def test_all_tables_of_a_page_travel_in_one_message(open_notebook):
    cells = [f"source{n}, table{n} = make(50, title='t{n}')\ntable{n}" for n in range(4)]
    count = """\
sent = []
def spy(send):
    return lambda content, buffers=None: (sent.append(content), send(content, buffers))
for each in (table0, table1, table2, table3):
    each.send = spy(each.send)
"""
    page = open_notebook("together", SETUP, *cells, count)
    page.run_all()
    for number in range(1, 5):
        expect(rows_of(page.output(number))).to_have_count(15)
    page.execute(
        "[each.commit({key(0): {'city': 'All'}}) for each in (source0, source1, source2, source3)]"
    )
    for number in range(1, 5):
        expect(rows_of(page.output(number)).first).to_contain_text("All")
    page.execute(
        "batches = [each for each in sent if each['kind'] == 'batch']\n"
        "updates = [[e for e in b['entries'] if 'views' in e] for b in batches]\n"
        "updates = [each for each in updates if each]\n"
        "assert sum(map(len, updates)) == 4 and len(updates) <= 2, updates"
    )


def test_an_error_stands_beside_the_last_good_rows(open_notebook):
    page = open_notebook("error", SETUP, "source, table = make(50)\ntable")
    page.run_all()
    output = page.output(1)
    expect(rows_of(output)).to_have_count(15)
    page.execute("source.fail('ZeroDivisionError: division by zero\\n  in worst_delays, line 3')")
    expect(output.get_by_role("alert").filter(has_text="ZeroDivisionError")).to_be_visible()
    expect(output.locator(".livedb-footer")).to_contain_text("error")
    expect(rows_of(output)).to_have_count(15)
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("error")
    page.execute("source.fail(None)")
    expect(output.locator(".livedb")).to_have_attribute("data-state", "live")
    expect(output.locator(".livedb-error")).to_be_hidden()


def test_a_flash_leaves_no_trace(open_notebook):
    """Chromium went on painting it in banded rows, though the animation had ended."""
    page = open_notebook("flash", SETUP, "source, table = make(2)\ntable")
    page.run_all()
    rows = rows_of(page.output(1))
    expect(rows).to_have_count(2)
    for at in range(2, 10):
        page.execute(f"source.commit({{key({at}): document({at})}})")
        expect(rows).to_have_count(at + 1)
    page.page.wait_for_function("document.getAnimations().length === 0")
    page.page.set_viewport_size({"width": 990, "height": 700})
    cells = [rows.nth(at).locator("td").nth(2) for at in (8, 9)]
    after_flash = [cell.screenshot() for cell in cells]
    page.save()
    page.reload()
    expect(rows).to_have_count(10)
    expect(page.output(1).locator(".livedb")).to_have_attribute("data-state", "live")
    assert [cell.screenshot() for cell in cells] == after_flash


def test_a_restarted_kernel_shows_as_stale_until_the_cell_runs_again(open_notebook):
    page = open_notebook("restart", SETUP, "source, table = make(50)\ntable", "table")
    page.run_all()
    for number in (1, 2):
        expect(rows_of(page.output(number))).to_have_count(15)
    page.restart_kernel()
    expect(page.output(1).locator(".livedb-advice")).to_contain_text("Run the cell again")
    expect(page.output(2).locator(".livedb")).to_have_attribute("data-state", "stale")
    expect(rows_of(page.output(1))).to_have_count(15)
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("stale")
    page.run_all()
    expect(page.output(1).locator(".livedb")).to_have_attribute("data-state", "live")
    expect(page.output(1).locator(".livedb-advice")).to_be_hidden()


def test_a_reloaded_page_shows_the_present_state(open_notebook):
    page = open_notebook("reload", SETUP, "source, table = make(50)\ntable")
    page.run_all()
    expect(rows_of(page.output(1))).to_have_count(15)
    page.save()
    page.execute("source.commit({key(0): {'city': 'Present'}})")
    page.reload()
    expect(rows_of(page.output(1)).first).to_contain_text("Present")
    page.execute("source.commit({key(0): {'city': 'Newer'}})")
    expect(rows_of(page.output(1)).first).to_contain_text("Newer")


def test_a_notebook_opened_with_another_kernel_shows_its_stored_rows(open_notebook):
    """Where a widget view would say "model not found"."""
    page = open_notebook("reopened", SETUP, "source, table = make(80)\ntable")
    page.run_all()
    output = page.output(1)
    expect(rows_of(output)).to_have_count(15)
    page.save()
    page.restart_kernel()
    page.reload()
    expect(output.locator(".livedb-stored")).to_contain_text("first 50 of 80 rows")
    expect(output).to_contain_text("Nairobi")
    expect(output).not_to_contain_text("not found")
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("reopened")
    page.run_all()
    expect(output.locator(".livedb")).to_have_attribute("data-state", "live")
    expect(output.locator(".livedb-stored")).to_be_hidden()


def test_the_stored_rows_take_as_much_room_as_the_live_ones(open_notebook):
    page = open_notebook("room", SETUP, "source, table = make(80)\ntable", "make(3)[1]")
    page.run_all()
    for number in (1, 2):
        output = page.output(number)
        expect(output.locator(".livedb")).to_have_attribute("data-state", "live")
        live, stored = output.evaluate(
            """output => {
                const height = selector => output.querySelector(selector).offsetHeight;
                const live = height('.livedb');
                output.querySelector('.livedb-stored').hidden = false;
                return [live, height('.livedb-stored')];
            }"""
        )
        assert abs(live - stored) <= 16, "a scrollbar may come or go, the page must not jump"


def test_without_a_kernel_the_stored_rows_are_there(open_notebook, lab):
    page = open_notebook("stored", SETUP, "source, table = make(80)\ntable")
    page.run_all()
    expect(rows_of(page.output(1))).to_have_count(15)
    page.save()
    page.command("kernelmenu:shutdown")
    path = lab.root / "stored.ipynb"
    stored = nbformat.read(path, as_version=4)
    stored.metadata["kernelspec"] = {"name": "elsewhere", "display_name": "A kernel not here"}
    nbformat.write(stored, path)
    page.page.reload()
    expect(page.output(1)).to_contain_text("Nairobi")
    expect(page.output(1)).to_contain_text("first 50 of 80 rows")
    assert page.page.evaluate("window.pwned") is None
    page.page.keyboard.press("Escape")  # JupyterLab asks for another kernel
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("stored")


def test_dark_theme_and_values_that_are_no_tables(open_notebook):
    values = """\
class Value(MemorySource):
    def __init__(self, value, title):
        super().__init__(title=title)
        self._state = state_of_value(value, number=7)
show = lambda value, title: display(LiveTable(Value(value, title)))
show(1234567, "count_flights()")
show({"carrier": "UA", "flights": 58665, "delayed": 0.3021, "hubs": ["EWR", "ORD"], "note": None},
    "carrier('UA')")
show([], "open_tasks()")
display(LiveTable(MemorySource([], schema=pa.schema([]), title="nothing()")))
"""
    page = open_notebook("dark", SETUP, "source, table = make(60)\ntable", values)
    page.change_theme("dark")
    page.run_all()
    expect(rows_of(page.output(1))).to_have_count(15)
    expect(page.output(2)).to_contain_text("58665")
    for at in (2, 3):  # whose columns are known, and are not
        card = page.output(2).locator(".livedb").nth(at)
        expect(card.get_by_text("no rows", exact=True)).to_be_visible()
    page.cell(1).scroll_into_view_if_needed()
    page.execute("source.commit({key(1): {'city': 'Cusco', 'delay': 999}, key(3): {'note': 'x'}})")
    expect(rows_of(page.output(1)).nth(1)).to_contain_text("Cusco")
    page.screenshot("dark-table")
    colour = (
        page.output(1).locator(".livedb").evaluate("each => getComputedStyle(each).backgroundColor")
    )
    assert max(int(part) for part in re.findall(r"\d+", colour)[:3]) < 80
    page.cell(2).scroll_into_view_if_needed()
    page.screenshot("dark-values")
    page.change_theme("light")
    page.screenshot("light-values")


def test_a_reader_sorts_filters_and_searches_while_rows_come(open_notebook):
    page = open_notebook("arranged", SETUP, "source, table = make(100_000)\ntable")
    page.run_all()
    output = page.output(1)
    rows = rows_of(output)
    expect(rows).to_have_count(15)
    wait_for_desk(output)
    delay = output.get_by_role("columnheader", name="delay")
    delay.click()
    delay.click()
    expect(rows.first.locator("td").nth(3)).to_have_text("159")
    expect(delay).to_have_attribute("aria-sort", "descending")
    output.get_by_role("button", name="filter").click()
    output.get_by_label("filter city").fill("os")
    output.get_by_label("filter due").fill("2026-04")
    footer = output.locator(".livedb-footer")
    expect(footer).to_contain_text("10 rows of 100,000")
    page.cell(1).scroll_into_view_if_needed()
    expect(rows.filter(has_text="Oslo")).to_have_count(10)
    page.screenshot("arranged-light")
    page.change_theme("dark")
    page.screenshot("arranged-dark")
    page.change_theme("light")
    focus = output.get_by_label("filter due")
    focus.focus()
    page.execute(
        "source.commit({'new': document(111) | {'_id': 'new', 'city': 'Osaka', 'delay': 777}})"
    )
    expect(rows.first.locator("td").nth(3)).to_have_text("777")
    expect(footer).to_contain_text("11 rows of 100,001")
    expect(focus).to_be_focused()
    expect(focus).to_have_value("2026-04")
    output.get_by_label("search all columns").fill("osaka")
    expect(rows).to_have_count(1)
    expect(footer).to_contain_text("1 row of 100,001")
    output.get_by_role("button", name="clear").click()
    expect(footer).to_contain_text("of 100,001 rows")
    expect(rows.first).to_contain_text("Oslo")


def test_a_table_without_rows_keeps_its_filters_and_summary_in_sight(open_notebook):
    empty = """\
schema = pa.schema([("_id", pa.string()), ("note", pa.string()), ("city", pa.string())])
LiveTable(MemorySource([], schema=schema))"""
    page = open_notebook("filtered-away", SETUP, "source, table = make(40)\ntable", empty)
    page.run_all()
    for at, words in ((1, "no rows are like that"), (2, "no rows")):
        output = page.output(at)
        expect(output.locator(".livedb")).to_be_visible()
        wait_for_desk(output)
        output.get_by_role("button", name="filter").click()
        summary = output.get_by_role("button", name="summary")
        if at == 2:
            summary.click()
        expect(summary).to_have_attribute("aria-pressed", "true")  # of a long table by itself
        city = output.get_by_label("filter city")
        city.fill("zzz")
        expect(output.locator(".livedb-empty")).to_have_text(words)
        output.locator(".livedb-footer").scroll_into_view_if_needed()
        page.screenshot(f"filtered-away-{at}")
        for part in (city, output.locator(".livedb-figures").nth(2), output.get_by_text(words)):
            expect(part).to_be_in_viewport(ratio=1)
    city = page.output(1).get_by_label("filter city")
    city.fill("Oslo")
    expect(rows_of(page.output(1))).to_have_count(5)
    expect(city).to_be_focused()


def test_two_pages_on_one_kernel_both_follow_each_in_its_own_order(open_notebook, notebooks):
    first = open_notebook("two-pages", SETUP, "source, table = make(40)\ntable")
    first.run_all()
    expect(rows_of(first.output(1))).to_have_count(15)
    first.save()
    second = notebooks.open_again("two-pages")
    expect(second.output(1).locator(".livedb")).to_have_attribute("data-state", "live")
    wait_for_desk(second.output(1))
    second.output(1).get_by_role("columnheader", name="distance").click()
    second.output(1).get_by_role("columnheader", name="distance").click()
    expect(rows_of(second.output(1)).first).to_contain_text("000039")
    first.execute("source.commit({key(0): {'city': 'Cusco'}, key(39): {'city': 'Bergen'}})")
    expect(rows_of(first.output(1)).first).to_contain_text("Cusco")
    expect(rows_of(second.output(1)).first).to_contain_text("Bergen")
    second.execute("source.commit({key(0): {'city': 'Turku'}})")
    expect(rows_of(first.output(1)).first).to_contain_text("Turku")
    for page in (first, second):
        expect(page.output(1).locator(".livedb-footer")).to_contain_text("commit 3")
