"""A JupyterLab server of our own, and notebooks in pages of a browser.

`BROWSER_SCREENSHOTS=folder` keeps what `NotebookPage.screenshot` takes.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Locator, Page

REPOSITORY = Path(__file__).parents[2]

LAB_SETTINGS: dict[str, dict[str, Any]] = {
    # News and update checks reach for the network and put toasts over the page.
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # Outputs below the fold must be in the page too.
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},
}

PATIENCE_S = 120
"""Seconds that a test waits for what must come: two browsers and two kernels may share two cores
with other work. A condition that holds is seen at once, so patience costs nothing."""

KERNEL_IS_IDLE = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return session?.isReady && session.session?.kernel?.status === 'idle';
}"""

REQUEST_EXECUTE = """async (code) => {
    const {kernel} = window.jupyterapp.shell.currentWidget.sessionContext.session;
    return (await kernel.requestExecute({code, stop_on_error: false}).done).content;
}"""

REQUEST_VALUE = """async (expression) => {
    const {kernel} = window.jupyterapp.shell.currentWidget.sessionContext.session;
    const request = {code: '', user_expressions: {value: expression}};
    return (await kernel.requestExecute(request).done).content.user_expressions.value;
}"""

RESTART = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"

Cell = str
"""The source of a code cell."""


@dataclass(frozen=True)
class Lab:
    """A JupyterLab server; `root` is the folder that it serves."""

    url: str
    token: str
    root: Path


@contextmanager
def running_lab(home: Path) -> Iterator[Lab]:
    """A server of our own: no user's configuration, no network, a port of its choosing."""
    root, runtime = home / "root", home / "runtime"
    root.mkdir()
    runtime.mkdir()
    _write_settings(home / "settings")
    token = secrets.token_hex(16)
    log = home / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            _lab_command(home),
            env=os.environ | _lab_environment(home, token),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Lab(_wait_for_url(server, runtime, log), token, root)
    finally:
        _stop(server)


def _write_settings(folder: Path) -> None:
    for name, value in LAB_SETTINGS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value))


def _lab_environment(home: Path, token: str) -> dict[str, str]:
    return {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        # Where an installed wheel has what switches the extension on.
        "JUPYTER_CONFIG_PATH": str(REPOSITORY / "jupyter-config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_TOKEN": token,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
        ),
    }


def _lab_command(home: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={home / 'root'}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--LabApp.user_settings_dir={home / 'settings'}",
        f"--LabApp.workspaces_dir={home / 'workspaces'}",
    ]


def _wait_for_url(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """The address that the server wrote into its runtime folder, once it has written it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        for info in runtime.glob("jpserver-*.json"):
            try:
                return str(json.loads(info.read_text())["url"])
            except json.JSONDecodeError:
                pass  # half written
        time.sleep(0.1)
    raise RuntimeError("JupyterLab did not start:\n" + log.read_text()[-4000:])


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(20)


class NotebookPage:
    """One notebook in a browser page of its own."""

    def __init__(self, page: Page, lab: Lab, name: str) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        # `/doc/tree` opens one document, without the dock and without an old workspace.
        page.goto(f"{lab.url}doc/tree/{name}.ipynb?token={lab.token}")
        self.wait_ready()

    def wait_ready(self) -> None:
        """Returns once the notebook is shown and its kernel answers."""
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        self.page.wait_for_function(KERNEL_IS_IDLE)

    def run_all(self) -> None:
        """Run every cell; returns when the kernel has run the last one."""
        self.command("notebook:run-all-cells")

    def execute(self, code: str) -> None:
        """Run code in the kernel without a cell; what it raises there is an AssertionError here."""
        reply = self.page.evaluate(REQUEST_EXECUTE, code)
        assert reply["status"] == "ok", "\n".join(reply.get("traceback", [str(reply)]))

    def value(self, expression: str) -> str:
        """What `expression` is in the kernel, as text."""
        reply = self.page.evaluate(REQUEST_VALUE, expression)
        assert reply["status"] == "ok", reply
        return str(reply["data"]["text/plain"])

    def wait_in_kernel(self, expression: str) -> None:
        """Returns once `expression` is true in the kernel."""
        deadline = time.monotonic() + PATIENCE_S
        while self.page.evaluate(REQUEST_EXECUTE, f"assert {expression}")["status"] != "ok":
            assert time.monotonic() < deadline, f"{expression} never came true"
            self.page.wait_for_timeout(200)

    def save(self) -> None:
        """Save the notebook; returns when it is written."""
        self.command("docmanager:save")
        self.page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")

    def restart_kernel(self) -> None:
        self.page.evaluate(RESTART)
        self.wait_ready()

    def reload(self) -> None:
        self.page.reload()
        self.wait_ready()

    def command(self, name: str, **arguments: Any) -> None:
        """Run one of JupyterLab's commands; returns when it is done."""
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments]
        )

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(index)

    def output(self, index: int) -> Locator:
        """The output of code cell `index`, markdown cells not counted."""
        return self.cell(index).locator(".jp-OutputArea")

    def screenshot(self, name: str) -> None:
        """Keep a picture of the page in the folder that `BROWSER_SCREENSHOTS` names, if it does."""
        if folder := os.environ.get("BROWSER_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@dataclass
class Notebooks:
    """Opens notebooks, each in a browser context of its own, as two people's browsers are."""

    lab: Lab
    browser: Browser
    pages: list[NotebookPage] = field(default_factory=list)

    def open(self, name: str, *cells: Cell) -> NotebookPage:
        """A new notebook `name` of these code cells, with a kernel of its own."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
        )
        return self.open_file(name, notebook)

    def open_file(self, name: str, notebook: nbformat.NotebookNode) -> NotebookPage:
        """The same, from a notebook that exists."""
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, self.lab.root / f"{name}.ipynb")
        return self.open_again(name)

    def open_again(self, name: str) -> NotebookPage:
        """A second page of a notebook that is open: one kernel, two clients."""
        context = self.browser.new_context(viewport={"width": 1000, "height": 700})
        context.set_default_timeout(PATIENCE_S * 1000)
        page = NotebookPage(context.new_page(), self.lab, name)
        self.pages.append(page)
        return page

    def close(self) -> list[str]:
        """Shut every kernel down; returns the errors that the pages raised and nobody caught."""
        for page in self.pages:
            page.command("kernelmenu:shutdown")
            page.page.context.close()
        # JupyterLab raises these itself when a kernel restarts or dies while it is asked something.
        own = "Canceled future for "
        return [error for page in self.pages for error in page.errors if own not in error]
