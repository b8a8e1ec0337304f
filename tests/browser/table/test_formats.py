"""Columns with formats in a real JupyterLab: what a reader sees, also of values nobody meant."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.table.test_accessibility import AXE, SHOWN_TO_AXE, assert_accessible
from tests.browser.table.test_editing import cell
from tests.browser.table.test_live_table import rows_of, wait_for_desk

pytestmark = pytest.mark.browser

PICTURE = """\
import math, struct, zlib
from datetime import UTC, datetime, timedelta
import livedb
from livedb import column

def picture(n):
    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
    colour = bytes((40 + n * 37 % 200, 90 + n * 61 % 140, 220 - n * 53 % 180))
    rows = b"".join(b"\\0" + colour * 40 for _ in range(30))
    head = struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0)
    return (b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b""))
"""
SETUP = (
    PICTURE
    + """\
db = livedb.open()

def flight(n):
    return {
        "flight": f"LV{100 + n}",
        "delay": (n * 37 % 180 - 20) / 7,
        "share": n * 7 % 41 / 40,
        "status": ["open", "done", "late", "lost"][n % 4],
        "tags": [["eu", "night"], ["cargo"], [], ["eu"]][n % 4],
        "due": datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(hours=n * 7),
        "history": [round(math.sin(n + each / 3), 3) if each % 9 else None for each in range(30)],
        "photo": picture(n),
        "url": f"https://example.org/flights/{n}",
        "fare": 1234.5 * n,
    }

keys = [db["flights"].insert(flight(n)) for n in range(40)]
FORMATS = dict(
    flight=column.plain(pinned=True, label="Flight"),
    delay=column.number("+.1f", unit="min", label="Delay", help="after the timetable"),
    share=column.progress(label="Seats", width=140),
    status=column.badge({"open": "orange", "done": "green", "late": "red"}, label="Status"),
    tags=column.badge({"eu": "blue", "night": "purple", "cargo": "teal"}),
    due=column.date("%d.%m.%Y"),
    history=column.sparkline(label="History"),
    photo=column.image(),
    url=column.link(text="open"),
    fare=column.number(",.2f", unit="€"),
    _id=column.plain(hidden=True),
    _creationTime=column.plain(hidden=True),
)
"""
)
SHOW = "shown = db['flights'].live().format(**FORMATS)\nshown"

HOSTILE = """\
bad = livedb.open()
values = [
    "javascript:alert(1)",
    "<img src=x onerror='window.pwned=1'>",
    "</script><script>window.pwned=1</script>",
    "data:text/html,<script>parent.pwned=1</script>",
    "=cmd()", "\\u202egnp.exe", "", "x" * 140_000, "[" * 5_000,
    "mailto:" + "x" * 2_000,
]
for each in values:
    bad["texts"].insert(dict.fromkeys("abcdefg", each))
for each in [math.nan, math.inf, -0.0, 1e300]:
    bad["numbers"].insert(dict.fromkeys("abcdefg", each))
for each in [{"deep": [{"er": None}]}, [1, "two", {"three": 3}], [math.nan, None]]:
    bad["nested"].insert(dict.fromkeys("abcdefg", each))
every = dict(
    a=column.number(".1f", width=90), b=column.progress(width=90), c=column.date(width=90),
    d=column.link(text="open", width=90), e=column.image(width=90), f=column.badge(width=90),
    g=column.sparkline(width=90), _id=column.plain(hidden=True),
)
texts, numbers, nested = (
    bad[name].live().format(**every) for name in ("texts", "numbers", "nested")
)
"""


WATCH_NUMBERS = """() => {
    window.numbers = new Set();
    new MutationObserver(() => {
        for (const cell of document.querySelectorAll(".livedb tbody [data-kind='float']")) {
            window.numbers.add(cell.textContent);
        }
    }).observe(document.body, {childList: true, subtree: true, characterData: true});
}"""


def text_at(output: Locator, row: int, name: str) -> str:
    return cell(output, row, name).inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_formats_are_seen_and_axe_finds_nothing(open_notebook, theme):
    page = open_notebook(f"formats-{theme}", SETUP, SHOW)
    page.page.set_viewport_size({"width": 1300, "height": 700})
    page.change_theme(theme)
    page.page.evaluate(WATCH_NUMBERS)
    page.run_all()
    output = page.output(1)
    wait_for_desk(output)
    row = rows_of(output).nth(3)
    expect(row).to_contain_text("LV103+13.0 min")
    heads = output.locator(".livedb-pane th")
    assert heads.all_inner_texts()[:4] == ["Flight", "Delay", "Seats", "Status"]
    numbers = page.page.evaluate("[...window.numbers]")
    assert len(numbers) > 30
    assert [each for each in numbers if not each.endswith((" min", "%", " €"))] == []
    assert "after the timetable" in (heads.nth(1).get_attribute("title") or "")
    bar = row.get_by_role("progressbar", name="Seats")
    expect(bar).to_have_attribute("aria-valuetext", "52%")
    expect(cell(output, 3, "due")).to_have_text("02.03.2026")
    expect(cell(output, 0, "tags").locator(".livedb-badge")).to_have_text(["eu", "night"])
    expect(row.get_by_role("img", name="first ")).to_be_visible()
    picture = cell(output, 3, "photo").locator("img")
    page.cell(1).scroll_into_view_if_needed()
    picture.scroll_into_view_if_needed()  # it is lazy
    expect(picture).to_have_js_property("naturalWidth", 40)
    assert {round(each.bounding_box()["height"]) for each in rows_of(output).all()} == {26}
    expect(output.locator(".livedb-chart button").first).to_be_enabled()
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot(f"formats-{theme}")
    page.page.add_script_tag(path=AXE)
    page.page.add_style_tag(content=SHOWN_TO_AXE)
    assert_accessible(page)
    output.locator(".livedb-scroller").evaluate("each => { each.scrollLeft = 1e6 }")
    expect(cell(output, 3, "fare")).to_have_text("3,703.50 €")
    page.screenshot(f"formats-right-{theme}")


def test_values_stay_what_they_are(open_notebook):
    """Links, copies, edits and row diffs, of a table that is formatted while it is on screen."""
    page = open_notebook("formats-work", SETUP, "shown = db['flights'].live()\nshown")
    page.page.set_viewport_size({"width": 1300, "height": 700})
    page.run_all()
    output, press = page.output(1), page.page.keyboard.press
    wait_for_desk(output)
    expect(cell(output, 3, "delay")).to_have_text("13")
    page.execute("shown.format(**FORMATS)")
    expect(cell(output, 3, "Delay")).to_have_text("+13.0 min")
    expect(output.locator(".livedb-pane th").first).to_have_text("Flight")

    # An update changes the cell in its place.
    rows_of(output).nth(3).evaluate("row => { row.dataset.witness = 'kept' }")
    page.execute("db['flights'].patch(keys[3], {'delay': 0.25, 'status': 'done', 'share': 1.0})")
    expect(cell(output, 3, "Delay")).to_have_text("+0.2 min")
    expect(cell(output, 3, "Status").locator("[data-color=green]")).to_have_text("done")
    expect(rows_of(output).nth(3).get_by_role("progressbar")).to_have_attribute(
        "aria-valuenow", "100"
    )
    expect(rows_of(output).nth(3)).to_have_attribute("data-witness", "kept")

    # The editor has the value, and what is written is drawn again.
    cell(output, 3, "Delay").dblclick()
    editor = output.get_by_label("edit delay")
    expect(editor).to_be_editable()
    expect(editor).to_have_value("0.25")
    editor.fill("7.75")
    editor.press("Enter")
    expect(cell(output, 3, "Delay")).to_have_text("+7.8 min")
    page.wait_in_kernel("db['flights'].get(keys[3]).delay == 7.75")

    # A filter and a sort are of the values.
    cell(output, 3, "Delay").click()
    press("s")
    expect(cell(output, 0, "Delay")).to_have_text("-2.9 min")
    press("s")
    press("s")

    # A link opens a page of its own, by a click or a key.
    page.page.context.route("https://example.org/**", lambda route: route.fulfill(body="hello"))
    link = cell(output, 3, "url").get_by_role("link")
    link.scroll_into_view_if_needed()
    with page.page.context.expect_page() as opened:
        link.click()
    assert opened.value.url == "https://example.org/flights/3"
    assert opened.value.evaluate("window.opener") is None
    opened.value.close()
    with page.page.context.expect_page() as opened:
        press("o")
    opened.value.close()


def test_values_that_nobody_meant_are_shown_as_they_are(open_notebook):
    page = open_notebook("formats-hostile", SETUP + HOSTILE, "texts", "numbers", "nested")
    page.run_all()
    for at in (1, 2, 3):
        expect(page.output(at).locator(".livedb")).to_have_attribute("data-state", "live")
        assert {
            round(each.bounding_box()["height"]) for each in rows_of(page.output(at)).all()
        } == {26}
    texts, numbers, nested = (page.output(at) for at in (1, 2, 3))
    for name in "abcdeg":
        expect(cell(texts, 0, name)).to_have_text("javascript:alert(1)")
    expect(texts.locator(".livedb a, .livedb tbody img, .livedb script")).to_have_count(0)
    expect(cell(texts, 1, "f").locator(".livedb-badge")).to_have_text(
        "<img src=x onerror='window.pwned=1'>"
    )
    assert [text_at(numbers, at, "a") for at in range(3)] == ["NaN", "∞", "-0.0"]
    expect(numbers.get_by_role("progressbar")).to_have_count(2)
    assert text_at(nested, 0, "a") == '{"deep":[{"er":null}]}'
    assert text_at(nested, 1, "g") == '[1,"two",{"three":3}]'
    expect(nested.locator(".livedb :is(a, img, svg, .livedb-badge)")).to_have_count(0)
    page.cell(1).scroll_into_view_if_needed()
    page.screenshot("formats-hostile")
    assert page.page.evaluate("window.pwned") is None


FILES = """\
album = livedb.open()

@album.table("photos")
class Photo:
    note: str
    photo: livedb.Id["_storage"]
    address: str

ids = [album.files.put(picture(n), content_type="image/png") for n in range(60)]
text = album.files.put(b"no picture", content_type="text/plain")
for note, file in [*((f"{n:02}", file) for n, file in enumerate(ids)), ("text", text)]:
    album["photos"].insert({"note": note, "photo": file, "address": album.files.url(file)})
album["photos"].insert(
    {"note": "theirs", "photo": text, "address": "file:///0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11"}
)
"""
SHOW_FILES = """\
shown = album["photos"].live().format(
    photo=column.image(label="Photo"), address=column.image(),
    _id=column.plain(hidden=True), _creationTime=column.plain(hidden=True),
)
shown"""


def test_pictures_among_the_files_of_an_embedded_workspace_are_seen(open_notebook):
    page = open_notebook("formats-files", PICTURE + FILES, SHOW_FILES)
    page.page.set_viewport_size({"width": 1000, "height": 1100})
    page.run_all()
    output, press = page.output(1), page.page.keyboard.press
    wait_for_desk(output)
    page.cell(1).scroll_into_view_if_needed()
    for name in ("Photo", "address"):
        expect(cell(output, 3, name).locator("img")).to_have_js_property("naturalWidth", 40)
    asked = page.page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
    assert not [each for each in asked if each.startswith("file:")]
    page.screenshot("formats-files")

    # The last rows: their pictures are asked for when they come, and what is none is its value.
    output.locator(".livedb-scroller").evaluate("each => { each.scrollTop = 1e6 }")

    def last(text: str, at: int) -> Locator:
        return rows_of(output).filter(has_text=text).locator("td").nth(at)

    expect(last("59", 1).locator("img")).to_have_js_property("naturalWidth", 40)
    expect(last("text", 1)).to_have_text(re.compile(r"^\w{3}…\w{6}$"))
    expect(last("text", 2)).to_have_text(re.compile("^file:///"))
    expect(last("theirs", 2)).to_have_text(re.compile("^file:///"))

    # A commit that gives another picture.
    page.execute("album['photos'].patch(album['photos'].collect()[60]['_id'], {'photo': ids[1]})")
    expect(last("text", 1).locator("img")).to_have_js_property("naturalWidth", 40)

    # The file itself, from its cell.
    last("59", 0).click()
    press("ArrowRight")
    press("o")
    panel = output.get_by_role("group", name="document")
    expect(panel).to_contain_text("image/png")
    expect(panel.get_by_role("img")).to_have_js_property("naturalWidth", 40)
    page.screenshot("formats-files-panel")
    with page.page.expect_download() as download:
        panel.get_by_role("button", name="download").click()
    assert download.value.suggested_filename.endswith(".png")
    content = download.value.path().read_bytes()
    press("Escape")
    expect(panel).to_be_hidden()
    last("58", 1).locator("img").click()
    expect(panel.get_by_role("img")).to_have_js_property("naturalWidth", 40)
    page.wait_in_kernel(f"album.files.open(ids[59]).read() == bytes.fromhex('{content.hex()}')")
