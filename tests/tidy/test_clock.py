"""Time, randomness and new ids enter livedb through `clock.py` and nowhere else.

A stray `time.time()` would be invisible to a test on a virtual clock, a stray `random` would make a
seed reproduce nothing. What only measures or waits on a real lock has no other door either.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LIVEDB = Path(__file__).parents[2] / "livedb"

MODULES = {"time", "random", "secrets", "uuid"}
CALLS = {
    "os.urandom",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
}


def stray_calls(source: str) -> list[str]:
    """The calls of the clock or of chance in a module, as `line: name`."""
    tree = ast.parse(source)
    names = _imported(tree)
    annotations = _annotation_nodes(tree)
    found = []
    for node in ast.walk(tree):
        if node in annotations:
            continue  # `random.Random` as a type asks for nothing
        if isinstance(node, (ast.Name, ast.Attribute)):
            parts = ast.unparse(node).split(".")
            full = ".".join([names.get(parts[0], parts[0]), *parts[1:]])
            if full in CALLS or (full.partition(".")[0] in MODULES and parts[0] in names):
                found.append(f"{node.lineno}: {full}")
    return found


def _annotation_nodes(tree: ast.Module) -> set[ast.AST]:
    annotations = [
        annotation
        for node in ast.walk(tree)
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if annotation is not None
    ]
    return {node for annotation in annotations for node in ast.walk(annotation)}


def _imported(tree: ast.Module) -> dict[str, str]:
    """Local name -> what it stands for, of every import of the module."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.partition(".")[0]
                names[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def test_only_the_clock_module_asks_for_time_or_chance():
    stray = {
        str(path.relative_to(LIVEDB)): calls
        for path in sorted(LIVEDB.rglob("*.py"))
        if path.name != "clock.py" and (calls := stray_calls(path.read_text()))
    }
    assert stray == {}


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import time as t\nt.monotonic()",
        "from time import sleep\nsleep(1)",
        "import random\nkey = random.random",
        "import random\nrandom.Random(1)",
        "from uuid import uuid4 as new\nnew()",
        "import os\nos.urandom(8)",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
    ],
)
def test_a_planted_call_is_found(source):
    assert stray_calls(source)


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\ndatetime(2013, 1, 1, tzinfo=UTC)",
        "time = document['time']\ntime.hour",
        "def f(random): return random.choice([1])",
        "import random\ndef f(make: Callable[[], random.Random]) -> random.Random: return make()",
    ],
)
def test_a_name_that_only_looks_like_the_clock_is_left_alone(source):
    assert stray_calls(source) == []
