from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from livedb.notebook.cells import Column
from livedb.notebook.drawings import drawing_of
from livedb.notebook.formats import Badge, ColumnFormat, Date, Link, Number, Progress, column

CASES = json.loads((Path(__file__).parents[2] / "widgets/test/looks.json").read_text())


def format_of(look):
    fields = {name: value for name, value in look.items() if name != "type"}
    if "colors" in fields:
        fields["colors"] = tuple(fields["colors"].items())
    classes = {"number": Number, "progress": Progress, "date": Date, "link": Link, "badge": Badge}
    return ColumnFormat(classes[look["type"]](**fields))


def python_value(case):
    match case["kind"], case["value"]:
        case "datetime", int() as microseconds:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
        case "float", str() as special:
            return float(special)
        case "number", str() as digits:
            return Decimal(digits)
        case _, value:
            return value


@pytest.mark.parametrize("case", CASES, ids=lambda case: json.dumps(case)[:90])
def test_a_value_is_drawn_as_the_page_draws_it(case):
    drawing = drawing_of(python_value(case), Column("x", case["kind"], format_of(case["look"])))
    wanted = case["drawn"]
    if wanted is None:
        assert drawing is None
        return
    assert drawing is not None
    assert drawing.text == wanted["text"]
    assert drawing.href == wanted.get("href")
    assert [list(each) for each in drawing.badges] == wanted.get("badges", [])


def drawn(value, kind, made):
    drawing = drawing_of(value, Column("x", kind, made))
    return None if drawing is None else drawing.text


def test_lists_are_the_same_as_values_and_in_json():
    for values in (["a", "b"], '["a","b"]'):
        assert drawn(values, "json", column.badge()) == "a, b"


def test_a_line_in_text_is_blocks_with_gaps():
    line = column.sparkline()
    assert drawn([0.0, 7.0, None, 3.5], "json", line) == "▁█ ▅"
    assert drawn([5, 5], "json", line) == "▅▅"
    assert drawn("[1,8]", "text", column.sparkline(low=0, high=16)) == "▁▅"
    assert len(drawn(list(range(10_000)), "json", line)) <= 24
    assert drawn("many", "text", line) is None


def test_a_text_of_brackets_is_no_list():
    assert drawn("[" * 1_000, "text", column.badge()) == "[" * 1_000


def test_a_picture_is_told_in_words_and_leads_to_its_address():
    picture = column.image()
    assert drawn(b"\x89PNG\r\n\x1a\n", "bytes", picture) == "PNG picture"
    assert drawn("data:image/webp;base64,AAAA", "text", picture) == "WEBP picture"
    address = "https://example.org/a.png"
    assert drawing_of(address, Column("x", "text", picture)).href == address
    assert drawn("javascript:alert(1)", "text", picture) is None


def test_what_has_no_format_is_drawn_as_it_is():
    assert drawn(1.5, "float", None) is None
    assert drawn(1.5, "float", column.plain(label="x")) is None
