"""A dashboard: what it is made of, and what is left of it without a kernel."""

from __future__ import annotations

import ipywidgets
import pytest

import livedb
from livedb.errors import FunctionTypeError


@pytest.fixture
def parts(db):
    @db.mutation
    def add(ctx, n: int) -> None:
        ctx.db.insert("numbers", {"n": n})

    add(n=7)
    return db["numbers"].live(), add.form()


def test_handles_and_forms_keep_their_places_and_rows_as_html(parts):
    handle, form = parts
    bundle, _ = livedb.dashboard("A <b>", handle, form)._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    html = bundle["text/html"]
    for place in (handle.widget.address, form.address):
        assert f"livedb-at-{place}" in html
    assert ">7<" in html
    assert "A &lt;b&gt;" in html
    assert bundle["text/plain"] == "<dashboard of 'A <b>', numbers, add>"


def test_with_a_widget_of_others_it_is_a_grid_of_widgets(parts):
    handle, form = parts
    page = livedb.dashboard("Numbers", ipywidgets.IntSlider(), handle, form, columns=3)
    bundle, _ = page._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert f"livedb-at-{form.address}" in bundle["text/html"]
    children = page._made_grid().children
    assert [type(each).__name__ for each in children] == ["HTML", "IntSlider", "LiveTable", "Form"]


def test_what_is_no_part_is_refused_with_what_to_do(db):
    with pytest.raises(FunctionTypeError, match=r"\.live\(\)"):
        livedb.dashboard(db["numbers"])
    with pytest.raises(FunctionTypeError, match="columns"):
        livedb.dashboard(columns=0)
