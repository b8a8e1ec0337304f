"""A real Jupyter server with the extension, under the kind of base URL that JupyterHub gives."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from livedb.commitlog.lock import WorkspaceLock
from tests.sharing.processes import is_alive
from tests.waiting import until

REPOSITORY = Path(__file__).parents[2]
BASE = "/user/ana/"
PATIENCE_S = 60


@dataclass
class Server:
    """A server; `root` is the folder that it serves, `url` ends with the base URL."""

    process: subprocess.Popen
    root: Path
    token: str
    url: str

    @property
    def log(self):
        return (self.root.parent / "server.log").read_text()

    def of(self, name):
        """Where a workspace is."""
        return f"{self.url}livedb/{name}"

    @property
    def login(self):
        """The header that the server lets in."""
        return {"Authorization": f"token {self.token}"}

    def client(self, **options):
        return httpx.Client(timeout=PATIENCE_S, trust_env=False, **options)

    def ask(self, method, path, **options):
        """An answer to a request below the base URL, of somebody with the server's token."""
        headers = {**self.login, **options.pop("headers", {})}
        with self.client() as client:
            return client.request(method, self.url + path, headers=headers, **options)

    def query(self, name, function, headers=None, **args):
        body = {"path": function, "args": args}
        return self.ask("POST", f"livedb/{name}/api/query", json=body, headers=headers or {})

    def mutate(self, name, function, headers=None, **args):
        body = {"path": function, "args": args}
        return self.ask("POST", f"livedb/{name}/api/mutation", json=body, headers=headers or {})


_MAIN = """
import sys
sys.modules["rfc3987_syntax"] = None  # see tests/conftest.py
from jupyter_server.serverapp import main
main()
"""


@contextmanager
def jupyter(home, *options, env=None):
    """A Jupyter server that serves `home / "root"`; services it started end with it."""
    root, runtime = home / "root", home / "runtime"
    for each in (root, runtime):
        each.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    surroundings = {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        # As an installed wheel has it below `etc/jupyter`.
        "JUPYTER_CONFIG_PATH": str(REPOSITORY / "jupyter-config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_TOKEN": token,
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [
        sys.executable, "-c", _MAIN, "--no-browser", "--allow-root",
        "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.base_url={BASE}",
        f"--ServerApp.root_dir={root}", *options,
    ]  # fmt: skip
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | surroundings | (env or {}), stdout=log, stderr=log
        )
    try:
        yield Server(process, root, token, _url_of(process, runtime, home / "server.log"))
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        end_services(root)


def _url_of(process, runtime, log):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        for info in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(info.read_text())["url"]
            except json.JSONDecodeError:
                pass  # half written
        time.sleep(0.05)
    raise RuntimeError("the server did not start:\n" + log.read_text()[-4000:])


def holder_of(folder):
    return WorkspaceLock(folder).holder()


def end_services(root):
    """End the background services below a folder."""
    for mark in root.rglob("workspace.json"):
        holder = holder_of(mark.parent)
        if holder is not None and holder.pid != os.getpid():
            os.kill(holder.pid, signal.SIGTERM)
            until(lambda pid=holder.pid: not is_alive(pid))
