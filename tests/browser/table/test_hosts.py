"""The other programs that show notebooks: Notebook 7, voila and marimo, each once for real.

JupyterLab is where all the other browser tests run.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.lab import PATIENCE_S, REPOSITORY, Notebooks, running_lab, stop

pytestmark = pytest.mark.browser

SETUP = """\
import livedb, threading, time
db = livedb.open()
for n in range(3):
    db["tasks"].insert({"n": n, "title": f"<b>task {n}</b>"})

@db.mutation
def add(ctx, title: str):
    ctx.db.insert("tasks", {"title": title})
"""

MARIMO = """\
import marimo
app = marimo.App()

@app.cell
def _():
    import livedb
    import marimo as mo
    db = livedb.open()
    for n in range(3):
        db["tasks"].insert({"n": n, "title": f"<b>task {n}</b>"})

    @db.mutation
    def add(ctx, title: str):
        ctx.db.insert("tasks", {"title": title})
    return add, db, mo

@app.cell
def _(db, mo):
    handle = db["tasks"].live()
    table = mo.ui.anywidget(handle)
    table
    return handle, table

@app.cell
def _(handle, table):
    table.value
    f"{len(handle)} tasks"
    return

@app.cell
def _(db):
    db["tasks"].live()
    return

@app.cell
def _(add):
    add.form()
    return

@app.cell
def _(db):
    db
    return
"""


def test_notebook_7_draws_a_live_table(tmp_path, browser):
    with running_lab(tmp_path, is_notebook=True) as server:
        notebooks = Notebooks(server, browser, [])
        page = notebooks.open("tasks", SETUP, "db['tasks'].live()", "add.form()", "db")
        page.run_all()
        rows = page.output(1).locator(".livedb tbody tr")
        expect(rows).to_have_count(3)
        expect(rows.first).to_contain_text("<b>task 0</b>")
        page.output(2).locator("input").fill("by a form")
        page.output(2).locator("button.livedb-go").click()
        expect(rows).to_have_count(4)
        page.output(3).locator(".livedb-explorer").scroll_into_view_if_needed()  # else it rests
        expect(page.output(3).locator(".livedb-explorer tbody td").first).to_have_text("4")
        page.screenshot("notebook-7")
        assert notebooks.leave() == []
        notebooks.close()


def test_voila_draws_a_live_table(tmp_path, browser):
    later = "import threading\nthreading.Timer(8, add, ['later']).start()"
    cells = [SETUP, "db['tasks'].live()", "add.form()", later]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "tasks.ipynb")
    options = ["--no-browser", "--Voila.ip=127.0.0.1", "--show_tracebacks=True"]
    with (
        serving("voila", "tasks.ipynb", *options, port="--port={}", folder=tmp_path) as url,
        opened(browser, url) as page,
    ):
        rows = page.locator(".livedb tbody tr")
        expect(rows).to_have_count(4)
        expect(page.locator(".livedb-footer")).to_contain_text("live")
        page.locator(".livedb-form input").fill("by a form")
        page.locator(".livedb-form button.livedb-go").click()
        expect(rows).to_have_count(5)


@pytest.mark.parametrize("mode", ["run", "edit"])
def test_marimo_draws_live_tables_and_runs_cells_again(tmp_path, browser, mode):
    (tmp_path / "tasks.py").write_text(MARIMO)
    options = ["tasks.py", "--headless", "--no-token", "--host=127.0.0.1"]
    with (
        serving("marimo", "-y", mode, *options, port="--port={}", folder=tmp_path) as url,
        opened(browser, url) as page,
    ):
        if mode == "edit":
            page.get_by_text("handle").first.wait_for()
            page.keyboard.press("Control+Shift+r")
        tables = page.locator(".livedb:has(tbody)").filter(has_text="commit")
        expect(tables).to_have_count(2)
        for at in range(2):
            expect(tables.nth(at).locator("tbody tr")).to_have_count(3)
        expect(page.get_by_text("3 tasks")).to_be_visible()
        page.locator(".livedb-form input").fill("by a form")
        page.locator(".livedb-form button.livedb-go").click()
        for at in range(2):
            expect(tables.nth(at).locator("tbody tr")).to_have_count(4)
        expect(page.get_by_text("4 tasks")).to_be_visible()  # the cell ran again by itself
        expect(page.locator(".livedb-explorer tbody td").first).to_have_text("4")


@contextmanager
def serving(module, *arguments, port, folder):
    """A server of `python -m module` in a folder, at a port that was free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    home = folder / "home"
    home.mkdir()
    environment = os.environ | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_STATE_HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home),
        "IPYTHONDIR": str(home),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
        ),
    }
    command = [sys.executable, "-m", module, *arguments, port.format(number)]
    url = f"http://127.0.0.1:{number}/"
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(url):
            told = (folder / "server.log").read_text()[-4000:]
            assert server.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.2)
        yield url
    finally:
        stop(server)


def _answers(url):
    try:
        return httpx.get(url, timeout=PATIENCE_S, trust_env=False).status_code < 500
    except httpx.TransportError:
        return False


@contextmanager
def opened(browser, url):
    """A page; an error that nobody caught fails the test."""
    context = browser.new_context(viewport={"width": 1000, "height": 1200})
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(error.stack or str(error)))
    try:
        page.goto(url)
        yield page
        if folder := os.environ.get("BROWSER_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/host-{time.monotonic_ns()}.png")
        assert errors == []
    finally:
        context.close()
