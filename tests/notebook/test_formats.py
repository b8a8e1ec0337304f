from __future__ import annotations

import dataclasses
import math
import re
import warnings
from pathlib import Path

import pyarrow as pa
import pytest

from livedb.errors import FunctionTypeError
from livedb.notebook.display import TINTS, html_of_table, text_of_table
from livedb.notebook.feed import TableFeed
from livedb.notebook.formats import COLORS, DATE_CODES, column


@pytest.mark.parametrize(
    "make,said",
    [
        (lambda: column.number("%.1f"), "such as ',', '+.1f'"),
        (lambda: column.number("{:.1f}"), "is '{:.1f}'"),
        (lambda: column.number(".99f"), "number's format"),
        (lambda: column.number("d"), "number's format"),
        (lambda: column.number(1), "number's format"),
        (lambda: column.number(unit=3), "unit is a text"),
        (lambda: column.number(unit="x" * 301), "at most 300"),
        (lambda: column.progress(1, 1), "low is below high"),
        (lambda: column.progress(2, 1), "low is below high"),
        (lambda: column.progress(0, math.inf), "not inf"),
        (lambda: column.progress(None, 1), "not None"),
        (lambda: column.progress(0, True), "not True"),
        (lambda: column.progress(0, "1"), "not '1'"),
        (lambda: column.date("dd.mm.yyyy"), "there is none in 'dd.mm.yyyy'"),
        (lambda: column.date("%Q"), "there is %Q in"),
        (lambda: column.date("%Y %"), "there is % in"),
        (lambda: column.date("%%"), "there is none"),
        (lambda: column.link(text=""), "text is an empty text"),
        (lambda: column.badge({"open": "organe"}), "did you mean 'orange'?"),
        (lambda: column.badge({"open": "#ff0000"}), "it is '#ff0000'"),
        (lambda: column.badge({"open": ["red"]}), "it is"),
        (lambda: column.badge({1.5: "red"}), "not for 1.5"),
        (lambda: column.badge(["open"]), "takes colours by value"),
        (lambda: column.badge(dict.fromkeys(range(101), "red")), "At most 100"),
        (lambda: column.sparkline(low=3, high=2), "low is below high"),
        (lambda: column.sparkline(low="a"), "not 'a'"),
        (lambda: column.plain(label=""), "label is an empty text"),
        (lambda: column.plain(label=3), "label is a text"),
        (lambda: column.plain(help=b"x"), "help is a text"),
        (lambda: column.plain(width=5), "36 to 2000 whole pixels"),
        (lambda: column.plain(width=99.5), "not 99.5"),
        (lambda: column.plain(hidden="yes"), "hidden is True or False"),
        (lambda: column.plain(pinned=1), "pinned is True or False"),
    ],
)
def test_what_is_no_format_is_refused_at_once_and_says_why(make, said):
    with pytest.raises(FunctionTypeError) as refused:
        make()
    assert said in str(refused.value)


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="lable"):
        column.plain(lable="x")


def test_every_code_and_colour_is_taken():
    column.date("".join(f"%{code}" for code in DATE_CODES))
    column.badge(dict(zip("abcdefghi", COLORS, strict=True)))


def test_every_colour_has_a_shade_on_pages_and_in_html():
    sheet = (Path(__file__).parents[2] / "widgets/src/entry/table.css").read_text()
    assert {"gray", *re.findall(r'\[data-color="(\w+)"\]', sheet)} == set(COLORS)
    assert set(TINTS) == set(COLORS)


def test_a_format_is_a_value():
    one, other = column.badge({True: "green"}), column.badge({"true": "green"})
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.label = "x"


def test_it_travels_as_plain_json():
    made = column.progress(0, 1, label="Share", help="of all", width=120, pinned=True)
    assert made.to_content() == {
        "label": "Share",
        "help": "of all",
        "width": 120,
        "pinned": True,
        "look": {"type": "progress", "low": 0, "high": 1, "format": ".0%"},
    }
    assert column.plain(hidden=True).to_content() == {"hidden": True}


@pytest.fixture
def shop(db):
    db["tasks"].insert({"n": 1.25, "url": "https://a.no/", "status": "open"})
    return db


def columns_of(handle):
    feed = TableFeed(handle)
    return feed.open_window("view", "realm", 0, 10, now_s=0.0).content["columns"]


def test_handles_of_tables_queries_and_sql_take_formats(shop):
    @shop.query
    def tasks(ctx):
        return [dict(each) for each in ctx.db.query("tasks").collect()]

    for handle in (shop["tasks"].live(), tasks.live(), shop.sql("select * from tasks").live()):
        assert handle.format(n=column.number("+.1f", unit="min")) is handle
        assert "+1.2 min" in text_of_table("", handle.current())
        assert [each[2:] for each in columns_of(handle) if each[0] == "n"] == [
            [{"look": {"type": "number", "format": "+.1f", "unit": "min"}}]
        ]
        assert list(handle.df["n"]) == [1.25]
        handle.close()


def test_a_format_replaces_what_was_told_before(shop):
    handle = shop["tasks"].live().format({"n": column.number(".0f")}, status=column.badge())
    handle.format(status=column.plain(label="State"))
    assert [each for each in columns_of(handle) if len(each) > 2] == [
        ["status", "text", {"label": "State"}]
    ]
    assert [each for each in columns_of(handle.format()) if len(each) > 2] == []


def test_a_name_that_the_result_lacks_is_told_once_and_counts_later(shop):
    handle = shop["tasks"].live()
    with pytest.warns(UserWarning, match=r"'statsu' \(did you mean 'status'\?\)") as told:
        handle.format(statsu=column.badge(), late=column.number(".1f"))
    assert told[0].filename == __file__
    shop["tasks"].insert({"n": 1.0, "late": 2.25})
    assert "2.2" in text_of_table("", handle.current())


def test_a_result_without_columns_yet_warns_of_nothing(shop):
    @shop.query
    def nothing(ctx):
        return []

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing.live().format(n=column.number())


def test_what_is_no_format_is_refused_by_the_handle(shop):
    handle = shop["tasks"].live()
    for given, named in (
        ({}, {"n": ".1f"}),
        (["n"], {}),
        ({"n": column.plain()}, {"n": column.plain()}),
    ):
        with pytest.raises(FunctionTypeError):
            handle.format(given, **named)


def test_html_without_a_kernel_has_the_formats_too(shop):
    handle = (
        shop["tasks"]
        .live()
        .format(
            _id=column.plain(hidden=True),
            n=column.number("+.1f", unit="min", label="Delay <b>", help='in "minutes"'),
            url=column.link(text="<open>"),
            status=column.badge({"open": "orange"}, pinned=True),
            _creationTime=column.plain(hidden=True),
        )
    )
    html = html_of_table("t", handle.current())
    row = html[html.index("<tbody>") : html.index("</tbody>")]
    assert row.startswith('<tbody><tr><td><span style="box-shadow:')
    assert '<td class="n" title="1.25">+1.2 min</td>' in row
    assert (
        '<a href="https://a.no/" target="_blank" rel="noopener noreferrer">&lt;open&gt;</a>' in row
    )
    assert '<th class="n" title="in &quot;minutes&quot;">Delay &lt;b&gt;</th>' in html
    assert html.count("<th") == 3 + html.count("<thead")
    assert "columns" not in html[html.index('class="note"') :]


def test_where_all_columns_are_hidden_all_are_shown(shop):
    handle = shop.sql("select n from tasks").live().format(n=column.plain(hidden=True))
    assert "1.25" in html_of_table("", handle.current())


def test_hostile_values_stay_text_in_html(shop):
    shop["tasks"].insert({"url": "javascript:alert(1)", "status": "<script>alert(1)</script>"})
    shop["tasks"].insert({"url": 'https://a/"onmouseover="alert(1)', "status": "x" * 1_000_000})
    handle = shop["tasks"].live().format(url=column.link(), status=column.badge())
    html = html_of_table("", handle.current())
    assert "<script" not in html
    assert 'href="javascript' not in html
    assert "&quot;onmouseover" in html
    assert len(html) < 20_000


def test_pictures_and_lines_travel_beside_their_values(shop):
    shop["photos"].insert({"photo": b"\x89PNG\r\n\x1a\n", "history": [1, None, 2.5]})
    handle = shop["photos"].live().format(photo=column.image(), history=column.sparkline())
    message = TableFeed(handle).open_window("view", "realm", 0, 10, now_s=0.0)
    sent = pa.ipc.open_stream(message.buffers[0]).read_all()
    names = [each[0] for each in message.content["columns"]]
    photo, history = names.index("photo"), names.index("history")
    assert sent.column(f"figures{photo}")[0].as_py().startswith("data:image/png;base64,")
    assert sent.column(f"figures{history}")[0].as_py() == [1.0, None, 2.5]
    assert sent.column(str(photo))[0].as_py() == "0x89504e470d0a1a0a"
