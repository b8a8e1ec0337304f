from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from livedb.notebook.display import html_of_table, text_of_table
from livedb.notebook.rows import state_of_value
from tests.notebook.memory_source import MemorySource

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</td></table><script>alert(1)</script>",
    "</script><!--",
    '" onmouseover="alert(1)',
    "' style='position:fixed",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "\u202egnp.exe",
    "zero\u0000byte",
    "line\nend\ttab\x1b[31m",
    "x" * 1_000_000,
]


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.texts.append(data)


def html_of(source: MemorySource) -> str:
    return html_of_table(source.title, source.current())


@pytest.mark.parametrize(
    "text", HOSTILE, ids=lambda text: text[:20].encode("unicode_escape").decode()
)
def test_hostile_text_stays_text_wherever_it_stands(text):
    source = MemorySource([{"_id": text, text: text}], title=text)
    source.fail(text)
    read = Reader(html_of(source))
    assert read.tags <= {"div", "span", "style", "table", "thead", "tbody", "tr", "th", "td"}
    assert read.attributes <= {"class", "title", "role", "aria-label"}
    assert len(html_of(source)) < 10_000
    if text.isprintable() and len(text) < 100:
        assert text in read.texts


def test_at_most_fifty_rows_are_stored():
    source = MemorySource([{"_id": str(n), "n": n} for n in range(1_000)])
    html = html_of(source)
    assert html.count("<tr>") == 51
    assert "first 50 of 1,000 rows" in html
    assert all(stop - start <= 50 for start, stop in source.windows_read)


def test_columns_are_bounded_too():
    source = MemorySource.of_table(pa.table({f"c{n}": [n] for n in range(300)}))
    assert html_of(source).count("<td") == 40
    assert "first 40 of 300 columns" in html_of(source)


def test_the_error_stands_above_the_last_good_rows():
    source = MemorySource([{"_id": "a", "n": 1}])
    source.fail("ValueError: no <b>luck</b>")
    read = Reader(html_of(source))
    assert "▲ ValueError: no <b>luck</b>" in read.texts
    assert "1" in read.texts
    assert text_of_table(source.title, source.current()).startswith("error: ValueError")


def test_colours_are_the_hosts():
    source = MemorySource([{"_id": "a", "n": None}])
    assert "color: inherit" in html_of(source)
    assert "background" not in html_of(source)


def test_a_row_of_html_costs_little_more_than_its_text():
    documents = [{"_id": f"k{n}", "n": n, "city": "Oslo"} for n in range(50)]
    few, many = (html_of(MemorySource(documents[:count])) for count in (10, 50))
    assert (len(many) - len(few)) / 40 < 90


def test_what_follows_nothing_any_more_says_why():
    state = replace(state_of_value(7, number=3), ended="The workspace is closed.")
    assert "◌ The workspace is closed." in Reader(html_of_table("f()", state)).texts
    assert text_of_table("f()", state).startswith("The workspace is closed.\n")


def test_the_place_of_a_live_table_carries_its_address():
    state = state_of_value(7, number=3)
    assert 'class="livedb-static livedb-at-c0ffee"' in html_of_table("f()", state, address="c0ffee")
    assert 'class="livedb-static"' in html_of_table("f()", state)


def test_plain_text_is_aligned():
    source = MemorySource(
        [{"_id": "a", "n": 1, "city": "Oslo"}, {"_id": "b", "n": 100, "city": None}],
        title="cities()",
    )
    assert text_of_table(source.title, source.current()) == (
        "_id    n  city\n"
        "a      1  Oslo\n"
        "b    100  null\n"
        "cities() · 2 rows · commit 1"
    )  # fmt: skip


@pytest.mark.parametrize("value", [None, 7, float("nan"), b"\xff", {"a": {"b": [1]}}, [], "x"])
def test_every_value_can_be_drawn(value):
    state = state_of_value(value, number=1)
    assert "commit 1" in html_of_table("f()", state)
    assert "commit 1" in text_of_table("f()", state)


def test_a_result_without_columns_says_that_it_has_no_rows():
    source = MemorySource([], schema=pa.schema([]))
    assert "no rows" in Reader(html_of(source)).texts
    assert text_of_table("", source.current()).strip() == "no rows · commit 1"
    failed = replace(source.current(), error="ValueError: boom")
    assert "no rows" not in text_of_table("", failed) + html_of_table("", failed)
