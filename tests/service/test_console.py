"""What functions print and log: lines of their call, and still where it went before."""

from __future__ import annotations

import io
import logging
import sys
import threading
from contextlib import contextmanager, redirect_stdout

from livedb.functions.call import Call
from livedb.service.console import Console


@contextmanager
def listening():
    """A standard output of the test's own, with a console over it.

    Not a fixture: pytest puts another output in place between a fixture and its test.
    """
    stream = io.StringIO()
    with redirect_stdout(stream):
        console = Console()
        console.begin()
        try:
            yield stream
        finally:
            console.end()
        assert sys.stdout is stream


def run(db, function, call):
    definition = db.query(name="f")(function).definition
    return db.backend.workspace.runner.run_alone(definition, {}, call)


def test_lines_go_to_the_call_and_to_the_output(memory):
    def function(ctx):
        print("a", 1, end="")
        print("", "b\nc")
        logging.getLogger("mine").error("wrong: %s", 7)
        logging.getLogger("mine").debug("not told")
        sys.stdout.writelines(["d\n", "e"])

    call = Call()
    with listening() as printed:
        run(memory, function, call)
    lines = ["[LOG] a 1 b", "[LOG] c", "[ERROR] wrong: 7", "[LOG] d", "[LOG] e"]
    assert call.log_lines == lines
    assert printed.getvalue() == "a 1 b\nc\nd\ne"


def test_what_nobody_called_for_goes_to_the_output_alone(memory):
    def function(ctx):
        print("from a cell")

    with listening() as printed:
        memory.query(name="f")(function)()
        print("beside")
        assert sys.stdout.getvalue() == printed.getvalue()  # the rest of it is the old one's
    assert printed.getvalue() == "from a cell\nbeside\n"


def test_it_stays_while_one_service_of_several_runs(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    console = Console()
    console.begin()
    console.begin()
    console.end()
    assert sys.stdout is not stream
    console.end()
    assert sys.stdout is stream


def test_another_output_that_was_put_in_its_place_stays(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    console = Console()
    console.begin()
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", other)
    console.end()
    assert sys.stdout is other


def test_the_lines_of_a_mutation_are_those_of_the_run_that_committed(memory):
    """One that is run again says its lines once, also when it is answered from the log."""
    runs = []

    @memory.mutation
    def work(ctx):
        runs.append(1)
        print("run", len(runs))
        rows = ctx.db.count("a")
        if len(runs) == 1:
            # Somebody else commits what it has read: it runs again.
            other = threading.Thread(target=memory["a"].insert, args=({"n": 1},))
            other.start()
            other.join()
        ctx.db.insert("a", {"n": rows})

    runner = memory.backend.workspace.runner
    for _ in range(2):
        call = Call(mutation_id="s:1")
        with listening():
            runner.run_alone(work.definition, {}, call)
        assert call.log_lines == ["[LOG] run 2"]
    assert len(runs) == 2


def test_warnings_are_shown_as_before_where_nobody_else_shows_them(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(shown))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own
    logging.lastResort.setLevel(logging.WARNING)
    with listening():
        logging.getLogger("mine").warning("once")
        logging.getLogger("mine").info("not at all")
        heard = logging.StreamHandler(io.StringIO())
        logging.getLogger("mine").addHandler(heard)
        try:
            logging.getLogger("mine").warning("by its own handler")
        finally:
            logging.getLogger("mine").removeHandler(heard)
    assert shown.getvalue() == "once\n"
