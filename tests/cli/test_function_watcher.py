"""A watched folder: saves reach live queries, errors are told, nothing is half loaded."""

from __future__ import annotations

import queue
import threading

import pytest

import livedb
from livedb.cli.function_watcher import FunctionWatcher
from livedb.errors import FunctionLoadError, SchemaChangeError
from livedb.functions.loader import FunctionFolder

WAIT_S = 30
"""Far above what a reload takes; only a failing test waits for it."""

TASKS = """
import livedb
from words import WORD

@livedb.query
def word(ctx) -> str:
    return WORD
"""


class Watched:
    """A watcher on a workspace, with what it did in queues."""

    def __init__(self, db, path):
        self.loads = queue.Queue()
        self.errors = queue.Queue()
        self.path = path
        self.folder = FunctionFolder(path)
        workspace = db.backend.workspace

        def push(loaded, before):
            workspace.push_functions(loaded, before=before.names())
            self.loads.put(sorted(loaded.names()))

        first = self.folder.load()
        workspace.push_functions(first)
        self.watcher = FunctionWatcher(self.folder, first, push, on_error=self.errors.put)

    def save(self, **files):
        for name, text in files.items():
            (self.path / f"{name}.py").write_text(text)


@pytest.fixture
def watched(memory, tmp_path):
    path = tmp_path / "functions"
    path.mkdir()
    (path / "tasks.py").write_text(TASKS)
    (path / "words.py").write_text("WORD = 'one'")
    made = Watched(memory, path)
    assert memory.functions == ["tasks:word"]
    yield made
    made.watcher.close()
    made.folder.close()


def test_a_save_reaches_a_live_query(memory, watched):
    live = memory.function("tasks:word").live()
    assert live.value == "one"
    watched.save(words="WORD = 'two'")
    watched.loads.get(timeout=WAIT_S)
    assert live.value == "two"


def test_files_that_come_and_go_are_followed(memory, watched):
    (watched.path / "deep").mkdir()
    (watched.path / "deep" / "more.py").write_text(TASKS)
    while watched.loads.get(timeout=WAIT_S) != ["deep/more:word", "tasks:word"]:
        pass
    (watched.path / "tasks.py").unlink()
    while watched.loads.get(timeout=WAIT_S) != ["deep/more:word"]:
        pass
    assert memory.functions == ["deep/more:word"]


def test_an_error_is_told_and_the_old_functions_stay(memory, watched):
    live = memory.function("tasks:word").live()
    watched.save(words="WORD = = 'two'")
    error = watched.errors.get(timeout=WAIT_S)
    assert isinstance(error, FunctionLoadError)
    assert (error.file, error.line) == (str(watched.path / "words.py"), 1)
    assert live.value == "one"
    watched.save(words="WORD = 'three'")
    watched.loads.get(timeout=WAIT_S)
    assert live.value == "three"


def test_a_schema_that_does_not_fit_is_told_too(memory, watched):
    memory["tasks"].insert({"n": "text"})
    watched.save(
        schema="from livedb import *\n"
        "s = define_schema({'tasks': define_table({'n': v.number()})})\n"
    )
    assert isinstance(watched.errors.get(timeout=WAIT_S), SchemaChangeError)
    assert memory.functions == ["tasks:word"]


def test_what_is_no_module_loads_nothing(watched):
    (watched.path / "notes.txt").write_text("x")
    (watched.path / ".tasks.py.swp").write_text("x")
    watched.save(words="WORD = 'four'")
    watched.loads.get(timeout=WAIT_S)
    assert watched.errors.empty()


def test_a_closed_watcher_leaves_no_thread(tmp_path):
    with livedb.open() as db:
        watched = Watched(db, tmp_path)
        watched.watcher.close()
        watched.watcher.close()
        assert "livedb-functions" not in [thread.name for thread in threading.enumerate()]
        watched.folder.close()
