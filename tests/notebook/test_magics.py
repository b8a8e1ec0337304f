"""`%%sql` and `%%live`: which workspace, which parameters, what is shown and what is kept."""

from __future__ import annotations

import ipywidgets
import pytest
from IPython.core.interactiveshell import InteractiveShell

import livedb
from livedb.errors import SqlError
from livedb.notebook import magics


@pytest.fixture(scope="module")
def shell():
    """A shell that is nobody's: `get_ipython()` does not give it."""
    return InteractiveShell()


@pytest.fixture
def cell(shell):
    """Runs a magic of a cell or of a line where there is a workspace `db`, and gives its result."""
    shell.reset(new_session=False)
    magics.load(shell)
    with livedb.open() as db:
        db["flights"].insert([{"carrier": "UA", "delay": 5}, {"carrier": "AA", "delay": 50}])
        shell.user_ns["db"] = db

        def run(name, line, body=None):
            if body is None:
                return shell.run_line_magic(name, line)
            return shell.run_cell_magic(name, line, body)

        yield run


def test_a_cell_of_sql_gives_the_rows_of_now(cell):
    found = cell("sql", "", "select carrier from flights order by carrier")
    assert found.to_arrow()["carrier"].to_pylist() == ["AA", "UA"]


def test_sql_may_begin_on_the_line_and_stand_on_one(cell):
    assert len(cell("sql", "select * from flights", "where delay > 10")) == 1
    assert len(cell("sql", "select * from flights")) == 2


def test_a_live_cell_gives_a_handle_that_follows(cell, shell):
    handle = cell("live", "", "select count(*)::int as n from flights")
    assert handle.df["n"].tolist() == [2]
    shell.user_ns["db"]["flights"].insert({"carrier": "DL", "delay": 1})
    assert handle.df["n"].tolist() == [3]


def test_a_name_keeps_what_would_be_shown(cell, shell):
    assert cell("live", "late <<", "select * from flights where delay > 10") is None
    assert len(shell.user_ns["late"].df) == 1
    assert cell("sql", "rows << select * from flights") is None
    assert len(shell.user_ns["rows"]) == 2


def test_a_parameter_is_the_variable_of_its_name_and_a_widget_is_followed(cell, shell):
    shell.user_ns["minutes"] = 10
    text = "select * from flights where delay > $minutes and '$other' <> ''"
    assert len(cell("sql", "", text)) == 1
    shell.user_ns["minutes"] = slider = ipywidgets.IntSlider(0, 0, 100)
    handle = cell("live", "", text)
    assert len(handle.df) == 2
    slider.value = 10
    assert len(handle.df) == 1


def test_a_parameter_that_is_no_variable_is_named(cell):
    with pytest.raises(SqlError, match="nowhere"):
        cell("sql", "", "select $nowhere")


def test_the_workspace_is_db_or_the_only_one_or_the_one_that_is_named(cell, shell):
    first = shell.user_ns.pop("db")
    shell.user_ns["shop"] = first
    assert len(cell("sql", "select * from flights")) == 2
    with livedb.open() as other:
        shell.user_ns["other"] = other
        with pytest.raises(SqlError, match=r"Which workspace.*--db other.*--db shop"):
            cell("sql", "select * from flights")
        assert len(cell("sql", "--db shop select * from flights")) == 2
        assert cell("sql", "--db shop kept <<", "select * from flights") is None
        assert len(shell.user_ns["kept"]) == 2
        with pytest.raises(SqlError, match="--db nobody"):
            cell("sql", "--db nobody select 1")
    shell.user_ns.clear()
    with pytest.raises(SqlError, match=r"Open one first: db = livedb.open"):
        cell("sql", "select 1")


def test_magics_of_others_are_left_alone_until_the_extension_is_loaded(shell):
    mine = shell.magics_manager.magics["cell"]
    shell.register_magic_function(lambda line, cell: "others", "cell", "sql")
    for known in shell.magics_manager.magics.values():
        known.pop("live", None)
    magics.offer(shell)
    assert mine["sql"]("", "") == "others"
    assert "live" in mine
    shell.run_line_magic("load_ext", "livedb")
    assert mine["sql"].func is magics._run
