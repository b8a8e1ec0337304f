"""A function that travelled gives, in a process that never saw its cells, what it gives here."""

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

REPOSITORY = HERE.parents[1]
# Cells may read lists and dicts here: that livedb warns of it is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::livedb.functions.purity.ImpureFunctionWarning")


@pytest.fixture(scope="module")
def service():
    """`service(shipment, arguments)`: the outcome in another process."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "service.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    ) as process:

        def deliver(shipment, arguments):
            order = {"shipment": shipment, "arguments": arguments}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield deliver
        process.stdin.close()


@pytest.fixture
def kernel():
    with kernels.Kernel() as kernel, livedb.open() as db:
        kernel.names["db"] = db
        kernel.run(corpus.BEFORE)
        yield kernel


@pytest.mark.parametrize("name", corpus.CASES)
def test_a_function_gives_the_same_on_a_service(name, kernel, service):
    case = corpus.CASES[name]
    for cell in case.cells:
        kernel.run(cell)
    names = kernel.names
    functions = [names[each] for each in (*case.also, "f")]
    shipment = kernels.shipment(names["db"], functions)
    here = kernels.outcome(names["f"], case.arguments)
    assert service(shipment, case.arguments) == here
