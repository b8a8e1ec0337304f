"""Cells to run, a workspace that they use, and a service in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import livedb

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import corpus  # noqa: E402 - beside this file
import kernel as kernels  # noqa: E402


@pytest.fixture
def kernel():
    with kernels.Kernel() as kernel, livedb.open() as db:
        kernel.names["db"] = db
        kernel.run(corpus.BEFORE)
        yield kernel


@pytest.fixture
def define(kernel):
    """`define(cell, ...)`: the query or mutation `f` of the last of these cells."""

    def define(*cells):
        for cell in cells:
            kernel.run(cell)
        return kernel.names["f"]

    return define


@pytest.fixture(scope="session")
def service():
    """`service(shipment, arguments)`: the outcome in another process."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "service.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=HERE.parents[1],
        text=True,
    ) as process:

        def deliver(shipment, arguments):
            order = {"shipment": shipment, "arguments": dict(arguments)}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield deliver
        process.stdin.close()
