"""The same in a real kernel, where cells have magics, await, and are known to IPython alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import corpus  # beside this file
import nbformat
import pytest
from nbclient import NotebookClient

HERE = Path(__file__).parent

# What only a kernel has.
MAGIC = {
    "below a cell magic": corpus.Case(
        (
            "%%time\nLIMIT = 3\ndef helper(): return LIMIT\nclass Plain:\n    size: int = 2",
            "%%capture\n@db.query\ndef f(ctx): return [helper(), Plain.size]",
        )
    ),
    "below a line magic and a shell command": corpus.Case(
        (
            "%precision 3\nfiles = !echo one\ndef helper(): return 1",
            "%pwd\n\n@db.query\ndef f(ctx): return helper()",
        )
    ),
    "in a cell that awaits": corpus.Case(
        (
            "import asyncio\nawait asyncio.sleep(0)\ndef helper(): return 1",
            "await asyncio.sleep(0)\n@db.query\ndef f(ctx): return helper()",
        )
    ),
}
CASES = {**corpus.CASES, **MAGIC}

START = f"""\
import json, sys, warnings
sys.path.insert(0, {str(HERE)!r})
import kernel as kernels
import livedb
warnings.simplefilter("ignore")
"""
ASK = """\
functions = [globals()[name] for name in {names!r}]
shipment = kernels.shipment(db, functions)
print(json.dumps([shipment, kernels.outcome(f, {arguments!r})]))
db.close()
"""
REFUSED = """\
try:
    kernels.captured(f)
except livedb.TravelError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """What each case printed, one after the other in one kernel."""
    cells, names = [START], [None]
    for name, case in CASES.items():
        ask = ASK.format(names=(*case.also, "f"), arguments=dict(case.arguments))
        cells += ["db = livedb.open()", corpus.BEFORE, *case.cells, ask]
        names += [None] * (2 + len(case.cells)) + [name]
    cells += [
        "db = livedb.open()\nimport pandas as pd\nframe = pd.DataFrame()",
        "%%time\n@db.query\ndef f(ctx):\n    return len(frame)",
        REFUSED,
    ]
    return executed(cells, tmp_path_factory.mktemp("notebook"), [*names, None, None, "refused"])


def executed(cells, folder, names):
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    with pytest.MonkeyPatch.context() as environment:
        paths = filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH")])
        environment.setenv("PYTHONPATH", os.pathsep.join(paths))
        environment.setenv("IPYTHONDIR", str(folder / "ipython"))
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=300, resources=resources).execute()
    return {
        name: "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
        for name, cell in zip(names, notebook.cells, strict=True)
        if name is not None
    }


@pytest.mark.parametrize("name", CASES)
def test_a_function_of_a_real_kernel_gives_the_same_on_a_service(name, notebook, service):
    shipment, here = json.loads(notebook[name])
    assert service(shipment, CASES[name].arguments) == here


def test_a_refusal_in_a_real_kernel_names_the_line_of_the_cell(notebook):
    printed = notebook["refused"]
    assert "line 4 of In[" in printed
    assert "uses 'frame' of type pandas.DataFrame" in printed
