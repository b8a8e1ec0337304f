"""Fixtures: a JupyterLab server, a Chromium, and a browser page per notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import find_chromium, launched
from tests.browser.lab import PATIENCE_S, Lab, NotebookPage, Notebooks, running_lab

expect.set_options(timeout=PATIENCE_S * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with launched(find_chromium()) as running:
        yield running


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("jupyter")) as running:
        yield running


@pytest.fixture(scope="session")
def idle_pages() -> list[NotebookPage]:
    """Pages with JupyterLab that show no notebook; they close with the browser."""
    return []


@pytest.fixture
def notebooks(
    lab: Lab, browser: Browser, idle_pages: list[NotebookPage], request: pytest.FixtureRequest
) -> Iterator[Notebooks]:
    failed = request.session.testsfailed
    opened = Notebooks(lab, browser, idle_pages)
    yield opened
    if request.session.testsfailed > failed:
        opened.close()
    else:
        assert opened.leave() == []


@pytest.fixture
def open_notebook(notebooks: Notebooks) -> Callable[..., NotebookPage]:
    """`open_notebook("name", *cells) -> NotebookPage`."""
    return notebooks.open
