from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from jupyter_client.manager import KernelManager

from livedb.notebook.hosts import draws_only_widget_views

REPOSITORY = Path(__file__).parents[2]

SETUP = """\
import time
from livedb.notebook.widgets import LiveTable
from tests.notebook.memory_source import MemorySource
table = LiveTable(MemorySource([{"_id": "a", "n": 1}]))
print(table.model_id)
"""


@pytest.mark.parametrize(
    "environment,expected",
    [
        ({}, False),
        ({"JPY_SESSION_NAME": "/home/ana/a.ipynb"}, False),
        ({"JPY_SESSION_NAME": "/home/ana/a.ipynb", "VSCODE_PID": "1"}, False),  # its terminal
        ({"JPY_SESSION_NAME": "/home/ana/a.ipynb-jvsc-1b9d6bcd"}, True),
        ({"VSCODE_PID": "1"}, True),
    ],
    ids=[
        "script",
        "JupyterLab",
        "JupyterLab from VS Code's terminal",
        "VS Code, server",
        "VS Code",
    ],
)
def test_a_host_is_known_by_its_environment(monkeypatch, environment, expected):
    for name in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert draws_only_widget_views() is expected


def test_colab_is_known_by_its_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    assert draws_only_widget_views()


def test_a_page_is_answered_on_its_subshell_while_a_cell_runs(tmp_path):
    """What a page asks in JupyterLab, asked of a real kernel: it fails without our correction."""
    manager = KernelManager(kernel_name="python3")
    paths = filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
    environment = {"IPYTHONDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(paths)}
    manager.start_kernel(
        env=os.environ | environment, extra_arguments=["--IPKernelApp.log_level=40"]
    )
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        model = printed(client, SETUP).strip()
        client.control_channel.send(client.session.msg("create_subshell_request"))
        subshell = client.get_control_msg(timeout=60)["content"]["subshell_id"]
        busy = client.execute("print('busy', flush=True)\ntime.sleep(30)\nprint('slept')")
        until(client, lambda message: message["content"].get("text") == "busy\n")
        request = {"kind": "rows", "view": "v", "realm": "r", "start": 0, "stop": 10, "id": 1}
        data = {"method": "custom", "content": request}
        message = client.session.msg("comm_msg", {"comm_id": model, "data": data})
        message["header"]["subshell_id"] = subshell
        client.shell_channel.send(message)
        came_first = until(
            client,
            lambda message: is_reply(message) or message["content"].get("text") == "slept\n",
        )
        assert is_reply(came_first)
        assert busy
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def is_reply(message: dict) -> bool:
    content = message["content"].get("data", {}).get("content", {})
    return isinstance(content, dict) and content.get("kind") == "reply"


def until(client, is_wanted) -> dict:
    """The next message of the kernel that is wanted."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        message = client.get_iopub_msg(timeout=60)
        if is_wanted(message):
            return message
    raise AssertionError("the kernel never sent it")


def printed(client, code: str) -> str:
    request = client.execute(code)
    texts: list[str] = []

    def is_idle(message: dict) -> bool:
        if message["parent_header"].get("msg_id") != request:
            return False
        texts.append(message["content"].get("text", ""))
        return message["content"].get("execution_state") == "idle"

    until(client, is_idle)
    return "".join(texts)
