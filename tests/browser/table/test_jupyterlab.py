"""The ground the browser tests stand on: a notebook runs in JupyterLab, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_a_cell_runs_and_its_output_is_on_the_page(open_notebook):
    page = open_notebook("ground", "import livedb; print('livedb is', livedb.__name__)")
    page.run_all()
    expect(page.output(0)).to_contain_text("livedb is livedb")
    page.screenshot("ground")


def test_code_without_a_cell_raises_what_the_kernel_raised(open_notebook):
    page = open_notebook("raises", "x = 1")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        page.execute("1 / 0")


def test_an_ipywidget_shows_the_state_its_kernel_changes(open_notebook):
    page = open_notebook("widget", "import ipywidgets\nw = ipywidgets.Label('before')\nw")
    page.run_all()
    expect(page.output(0)).to_contain_text("before")
    page.execute("w.value = 'after'")
    expect(page.output(0)).to_contain_text("after")
