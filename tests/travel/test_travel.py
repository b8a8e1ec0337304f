"""A function that travelled gives, in a process that never saw its cells, what it gives here."""

from __future__ import annotations

import corpus  # beside this file
import kernel as kernels
import pytest

# Cells may read lists and dicts here: that livedb warns of it is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::livedb.functions.purity.ImpureFunctionWarning")


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
