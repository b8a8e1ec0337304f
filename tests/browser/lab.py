"""A JupyterLab server of our own, and notebooks in pages of a browser.

`BROWSER_SCREENSHOTS=folder` keeps what `NotebookPage.screenshot` takes.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, ConsoleMessage, Locator
from playwright.sync_api import Error as PlaywrightError

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

OWN_ERRORS = re.compile(
    r"Canceled future for |Error: Disposed\n"
    r"|reading 'kernel'\)\n +at .*/@jupyter-widgets/jupyterlab-manager/"
    r"|reading 'schema'\)\n +at .*/static/notebook/"
)
"""What JupyterLab and the widgets' manager raise themselves when a kernel restarts or dies while it
is asked something, and Notebook 7 when it starts."""

MAIN = """
import sys
sys.modules["rfc3987_syntax"] = None  # see tests/conftest.py
from {module} import main
main()
"""

NOTEBOOK_CONFIG: dict[str, dict[str, Any]] = {
    # Notebook 7 does not hear of it on the command line.
    "jupyter_notebook_config.json": {"JupyterNotebookApp": {"expose_app_in_browser": True}},
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

WITHIN_PATIENCE = """([ms, argument]) => Promise.race([
    (%s)(argument),
    new Promise((_, no) => setTimeout(() => no(new Error(`no answer within ${ms} ms`)), ms)),
])"""
"""A promise of JupyterLab's is not always kept, such as for a kernel that is gone, and Playwright
waits for an evaluation without a limit."""

RUN_COMMAND = "async ([name, args]) => { await window.jupyterapp.commands.execute(name, args); }"

CLOSE_NOTEBOOK = """() => {
    const notebook = window.jupyterapp.shell.currentWidget;
    notebook.context.model.dirty = false;  // else it asks whether to save
    notebook.close();
}"""

RESTART = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"

Cell = str
"""The source of a code cell."""


@dataclass(frozen=True)
class Lab:
    """A JupyterLab server; `root` is the folder that it serves, `page` where it shows a notebook.

    `/doc/tree` opens one document, without the dock and without an old workspace.
    """

    url: str
    token: str
    root: Path
    page: str = "doc/tree"


@contextmanager
def running_lab(home: Path, *, is_notebook: bool = False) -> Iterator[Lab]:
    """A server of our own: no user's configuration, no network, a port of its choosing.

    Args:
        is_notebook: Jupyter Notebook 7 instead of JupyterLab.
    """
    root, runtime = home / "root", home / "runtime"
    root.mkdir()
    runtime.mkdir()
    _write_settings(home / "settings")
    _write_settings(home / "config", NOTEBOOK_CONFIG)
    token = secrets.token_hex(16)
    log = home / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            _command(home, is_notebook=is_notebook),
            env=os.environ | _lab_environment(home, token),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        page = "notebooks" if is_notebook else "doc/tree"
        yield Lab(_wait_for_url(server, runtime, log), token, root, page)
    finally:
        stop(server)


def _write_settings(folder: Path, settings: dict[str, dict[str, Any]] = LAB_SETTINGS) -> None:
    for name, value in settings.items():
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


def _command(home: Path, *, is_notebook: bool) -> list[str]:
    module, app = "jupyterlab.labapp", "LabApp"
    if is_notebook:
        module, app = "notebook.app", "JupyterNotebookApp"
    return [
        sys.executable,
        "-c",
        MAIN.format(module=module),
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={home / 'root'}",
        f"--{app}.expose_app_in_browser=True",
        f"--{app}.extension_manager=readonly",
        f"--{app}.news_url=None",
        f"--{app}.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--{app}.user_settings_dir={home / 'settings'}",
        f"--{app}.workspaces_dir={home / 'workspaces'}",
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


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server, by force if it does not end by itself."""
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(20)


class NotebookPage:
    """A browser page that shows one notebook, in a browser context of its own."""

    def __init__(self, browser: Browser, lab: Lab) -> None:
        self._lab = lab
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_S * 1000)
        self.page = context.new_page()
        self._theme = "light"
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(error.stack or str(error)))
        self.page.on("console", self._note_console)

    def show(self, name: str) -> None:
        """Open a notebook in JupyterLab, which the first one loads."""
        self.page.set_viewport_size({"width": 1000, "height": 700})
        self.page.mouse.move(0, 0)
        if self.page.url == "about:blank":
            lab = self._lab
            self.page.goto(f"{lab.url}{lab.page}/{name}.ipynb?token={lab.token}")
        else:
            self.command("docmanager:open", path=f"{name}.ipynb")
        self.wait_ready()

    def leave(self) -> list[str]:
        """End the kernel and close the notebook; returns what the page raised or reported."""
        self.change_theme("light")
        self.command("kernelmenu:shutdown")
        self._evaluate(CLOSE_NOTEBOOK)
        self.page.locator(".jp-Notebook").wait_for(state="detached")
        raised = [error for error in self.errors if not OWN_ERRORS.search(error)]
        self.errors.clear()
        return raised

    def close(self) -> None:
        self.page.context.close()

    def _note_console(self, message: ConsoleMessage) -> None:
        """What livedb's widgets report, and what JupyterLab reports of them, is an error too."""
        if message.type == "error" and "livedb" in message.text:
            self.errors.append(message.text)

    def wait_ready(self) -> None:
        """Returns once the notebook is shown and its kernel answers."""
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        self.page.wait_for_function(KERNEL_IS_IDLE)

    def wait_until_idle(self, timeout_s: float) -> None:
        """Returns once the kernel has run what it was given."""
        self.page.wait_for_function(KERNEL_IS_IDLE, timeout=timeout_s * 1000)

    def run_all(self) -> None:
        """Run every cell; returns when the kernel has run the last one, if that is soon."""
        self.command("notebook:run-all-cells")

    def execute(self, code: str) -> None:
        """Run code in the kernel without a cell; what it raises there is an AssertionError here."""
        reply = self._evaluate(REQUEST_EXECUTE, code)
        assert reply["status"] == "ok", "\n".join(reply.get("traceback", [str(reply)]))

    def value(self, expression: str) -> str:
        """What `expression` is in the kernel, as text."""
        reply = self._evaluate(REQUEST_VALUE, expression)
        assert reply["status"] == "ok", reply
        return str(reply["data"]["text/plain"])

    def wait_in_kernel(self, expression: str) -> None:
        """Returns once `expression` is true in the kernel."""
        deadline = time.monotonic() + PATIENCE_S
        while self._evaluate(REQUEST_EXECUTE, f"assert {expression}")["status"] != "ok":
            assert time.monotonic() < deadline, f"{expression} never came true"
            self.page.wait_for_timeout(200)

    def save(self) -> None:
        """Save the notebook; returns when it is written."""
        self.command("docmanager:save")
        self.page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")

    def restart_kernel(self) -> None:
        self._evaluate(RESTART)
        self.wait_ready()

    def reload(self) -> None:
        self.page.reload()
        self.wait_ready()

    def change_theme(self, theme: str) -> None:
        """Show the page in JupyterLab's theme "light" or "dark", until it is left."""
        if theme == self._theme:
            return
        self.command("apputils:change-theme", theme=f"JupyterLab {theme.title()}")
        # Over a splash that still goes a second one raises in JupyterLab: both remove one element.
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")
        self._theme = theme

    def command(self, name: str, **arguments: Any) -> None:
        """Run one of JupyterLab's commands; returns when it is done."""
        self._evaluate(RUN_COMMAND, [name, arguments])

    def _evaluate(self, function: str, argument: Any = None) -> Any:
        """What a function in the page gives, or an error after `PATIENCE_S` seconds."""
        return self.page.evaluate(WITHIN_PATIENCE % function, [PATIENCE_S * 1000, argument])

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
    """Opens notebooks, each in a page of its own, as two people's browsers are.

    A page that is left waits in `idle` for the next notebook: to load JupyterLab costs 3 seconds of
    a core, to open a notebook in it half a second.
    """

    lab: Lab
    browser: Browser
    idle: list[NotebookPage]
    pages: list[NotebookPage] = field(default_factory=list)

    def open(self, name: str, *cells: Cell, kernel: str = "python3") -> NotebookPage:
        """A new notebook `name` of these code cells, with a kernel of its own."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
        )
        return self.open_file(name, notebook, kernel=kernel)

    def open_file(
        self, name: str, notebook: nbformat.NotebookNode, *, kernel: str = "python3"
    ) -> NotebookPage:
        """The same, from a notebook that exists."""
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel}
        nbformat.write(notebook, self.lab.root / f"{name}.ipynb")
        return self.open_again(name)

    def open_again(self, name: str) -> NotebookPage:
        """A second page of a notebook that is open: one kernel, two clients."""
        page = self.idle.pop() if self.idle else NotebookPage(self.browser, self.lab)
        self.pages.append(page)
        page.show(name)
        return page

    def leave(self) -> list[str]:
        """Leave every notebook, and its page to the next; returns the errors of all pages."""
        raised = [error for page in self.pages for error in page.leave()]
        self.idle += self.pages
        return raised

    def close(self) -> None:
        """End every kernel and close the pages, whatever has become of them."""
        for page in self.pages:
            with suppress(PlaywrightError):
                page.command("kernelmenu:shutdown")
            page.close()
