"""Jupyter servers, and workspaces that other processes have open."""

from __future__ import annotations

import pytest

import livedb
from tests.jupyter.servers import end_services, jupyter
from tests.sharing.processes import Python

ORIGIN = "https://shop.example"

KERNEL = """
from tests.service import shop
db = livedb.open(path)
shop.define(db)
db.serve()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with one token; whoever has it is the owner."""
    with jupyter(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def viewing(tmp_path_factory):
    """A server whose user may only look, and which pages of one other origin may call."""
    home = tmp_path_factory.mktemp("viewing")
    options = ("--LivedbExtension.own_role=viewer", f"--ServerApp.allow_origin={ORIGIN}")
    with jupyter(home, *options) as running:
        yield running


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A server of Ana's, as a hub runs it: others have names, and what they may do was said."""
    options = (
        "--ServerApp.identity_provider_class=tests.jupyter.named_users.NamedUsers",
        "--ServerApp.authorizer_class=tests.jupyter.named_users.Allows",
        "--LivedbExtension.role=member",
        "--LivedbExtension.roles=vic=viewer",
    )
    home = tmp_path_factory.mktemp("hub")
    with jupyter(home, *options, env={"JUPYTERHUB_USER": "ana"}) as running:
        yield running


@pytest.fixture
def make():
    """`make(server, name)`: a workspace that nobody has open."""
    made = []

    def make(server, name):
        folder = server.root / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        livedb.open(folder).close()
        made.append(folder)
        return folder

    yield make
    for folder in made:
        end_services(folder)


@pytest.fixture(scope="module")
def python():
    """The process of all kernels: to start one takes longer than most tests."""
    with Python() as process:
        yield process


@pytest.fixture
def kernel(python):
    """`kernel(server, name)`: a process that has a workspace open with the shop, and serves it."""
    opened = []

    def kernel(server, name):
        assert not opened, "a test has one kernel"
        folder = server.root / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        opened.append(folder)
        assert python.run(f"path = {str(folder)!r}\n{KERNEL}") == ""
        return python

    yield kernel
    if opened:
        assert python.run("db.close()") == ""
