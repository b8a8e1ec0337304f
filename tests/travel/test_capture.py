"""What cannot travel is named, with the line of the cell that uses it."""

from __future__ import annotations

import linecache
import sys
import types
from contextlib import ExitStack

import kernel as kernels  # beside this file
import pytest

import livedb
from livedb.errors import SchemaDefinitionError, TravelError
from livedb.travel.capture import capture
from livedb.travel.parcel import encode_function

pytestmark = pytest.mark.filterwarnings("ignore::livedb.functions.purity.ImpureFunctionWarning")

# The cell before the last, what the last says below `def f(ctx):`, and what the message says.
REFUSALS = {
    "a DataFrame": (
        "import pandas as pd\nframe = pd.DataFrame({'a': [1]})",
        "    x = 1\n    return len(frame)",
        "line 4 of In[3] uses 'frame' of type pandas.DataFrame. Load it into a table",
    ),
    "an array": (
        "import numpy as np\nweights = np.array([1.0])",
        "    return weights[0]",
        "line 3 of In[3] uses 'weights' of type numpy.ndarray. Load it into a table",
    ),
    "an open file": (
        "import os\nlog = open(os.devnull)\nlog.close()",
        "    return log.read()",
        "line 3 of In[3] uses 'log' of type _io.TextIOWrapper. Read the file outside",
    ),
    "a lock": (
        "import threading\nlock = threading.Lock()",
        "    with lock:\n        return 1",
        "line 3 of In[3] uses 'lock' of type _thread.lock. Livedb values, modules",
    ),
    "a generator": (
        "rows = (i for i in range(3))",
        "    return list(rows)",
        "line 3 of In[3] uses 'rows' of type generator. Make a list of it",
    ),
    "a socket": (
        "import socket\nline = socket.socket()\nline.close()",
        "    return line.fileno()",
        "line 3 of In[3] uses 'line' of type socket.socket. Livedb values",
    ),
    "an object of a class of the user's": (
        "class Model:\n    pass\nmodel = Model()",
        "    return model.x",
        "line 3 of In[3] uses 'model' of type Model. Livedb values",
    ),
    "a bound method": (
        "items = []\npush = items.append",
        "    push(1)",
        "line 3 of In[3] uses 'push' of type builtin_function_or_method. Livedb values",
    ),
    "another workspace": (
        "import livedb\nother = livedb.open()\nother.close()",
        "    return other['tasks'].collect()",
        "line 3 of In[3] uses 'other' of type livedb.Database. It is another workspace",
    ),
    "a table of the workspace": (
        "tasks = db['tasks']",
        "    return tasks.collect()",
        "line 3 of In[3] uses 'tasks' of type livedb.Table. Inside a function read tables with",
    ),
    "a live handle": (
        "rows = db['tasks'].live()",
        "    return rows.value",
        "uses 'rows' of type livedb.Handle. It is a live handle; call the query itself",
    ),
    "a query of another workspace": (
        "other = livedb.open()\n@other.query\ndef count(ctx): return 1",
        "    return count()",
        "line 3 of In[3] uses 'count' of type livedb.Query. It belongs to another workspace",
    ),
    "a name that is not there": (
        "",
        "    if ctx is None:\n        return totl\n    return 1",
        "line 4 of In[3] uses 'totl', which is not defined. Define it in a cell that runs before",
    ),
    "a module made by hand": (
        "import types\nmade = types.ModuleType('made')",
        "    return made.x",
        "line 3 of In[3] uses 'made' of type module",
    ),
    "within a list": (
        "import threading\nlocks = [1, threading.Lock()]",
        "    return locks[0]",
        "line 3 of In[3] uses 'locks'[1] of type _thread.lock",
    ),
    "a list that contains itself": (
        "loop = []\nloop.append(loop)\nloop.append(loop)",
        "    return loop",
        "line 3 of In[3] uses 'loop'",
    ),
    "in a helper": (
        "import threading\nlock = threading.Lock()\ndef helper():\n    with lock: return 1",
        "    return helper()",
        "line 4 of In[2], in 'helper', uses 'lock' of type _thread.lock",
    ),
    "a helper that needs what is not there": (
        "def helper():\n    return nowhere",
        "    return helper()",
        "line 2 of In[2], in 'helper', uses 'nowhere', which is not defined",
    ),
    "in a class": (
        """\
import threading
class A:
    def m(self):
        return guard
guard = threading.Lock()
""",
        "    return A().m()",
        "line 4 of In[2], in 'A', uses 'guard' of type _thread.lock",
    ),
    "a function that assigns a global": (
        "count = 0",
        "    global count\n    count += 1\n    return count",
        "line 4 of In[3] assigns the global 'count', which the notebook would not see",
    ),
    "a helper that assigns a closure": (
        """\
def make():
    n = 0
    def bump():
        nonlocal n
        n += 1
        return n
    return bump
bump = make()
""",
        "    return bump()",
        "line 4 of In[2], in 'bump', assigns a variable of the function around it (`nonlocal`)",
    ),
    "made by exec": (
        "exec('def helper(): return 1')",
        "    return helper()",
        "line 3 of In[3] uses 'helper', and nothing keeps its source: it was made by `exec`",
    ),
    "a class made by exec": (
        "exec('class Executed:\\n    zzz = 1')",
        "    return Executed.zzz",
        "line 3 of In[3] uses 'Executed', and nothing keeps its source",
    ),
    "a class of a base that was defined anew": (
        "class A:\n    x = 1\nclass B(A):\n    y = 1\nclass A:\n    x = 2",
        "    return B.x",
        "line 3 of In[3] uses 'B', made from a 'A' that was defined anew since. Run its cell again",
    ),
    "a method out of its class": (
        "class A:\n    def m(self): return 1\nm = A.m",
        "    return m(None)",
        "line 3 of In[3] uses 'm', a function of a class; use it through the class",
    ),
    "text that is no Unicode": (
        "broken = '\\ud800'",
        "    return broken",
        "line 3 of In[3] uses 'broken' of type str",
    ),
    "a datetime in a zone of the user's": (
        """\
from datetime import tzinfo
class Zone(tzinfo): pass
when = datetime(2026, 1, 1, tzinfo=Zone())
""",
        "    return when",
        "line 3 of In[3] uses 'when'[2] of type Zone",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_travel_is_named_with_its_line(name, define):
    before, body, message = REFUSALS[name]
    f = define(before, f"@db.query\ndef f(ctx):\n{body}")
    with pytest.raises(TravelError) as caught:
        kernels.captured(f)
    assert str(caught.value).startswith("f cannot travel to the service: ")
    assert message in str(caught.value)
    assert caught.value.code == "CannotTravel"


def test_a_default_that_cannot_travel_names_its_parameter(define):
    f = define(
        "import threading",
        "def helper(x, *, lock=threading.Lock()):\n    return 1",
        "@db.query\ndef f(ctx): return helper(1)",
    )
    with pytest.raises(
        TravelError, match=r"line 1 of In\[3\], in 'helper', has a default of 'lock' of type _thr"
    ):
        kernels.captured(f)


def test_what_the_notebook_puts_among_the_builtins_is_no_builtin(define, monkeypatch):
    def display():
        pass

    display.__module__ = "IPython.core.display_functions"
    monkeypatch.setattr("builtins.display", display, raising=False)
    f = define("@db.query\ndef f(ctx):\n    display()")
    with pytest.raises(TravelError, match="uses 'display', which belongs to the notebook"):
        kernels.captured(f)


def test_an_async_function_is_refused():
    async def f(ctx):
        pass

    with pytest.raises(SchemaDefinitionError, match="a query is a plain `def`, and this is `async"):
        capture(f, kind="query")


def test_a_method_is_refused():
    class Tasks:
        def f(self, ctx):
            pass

    for method in (Tasks.f, Tasks().f):
        with pytest.raises(TravelError, match="f cannot travel to the service: it is a method"):
            capture(method, kind="query")


def test_what_is_no_function_is_refused():
    with pytest.raises(TravelError, match="it is of type type, and a query is a plain `def`"):
        capture(types.SimpleNamespace, kind="query")


# -- where source stands ---------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module(text)`: a module of that text beside the notebook, imported."""
    monkeypatch.syspath_prepend(tmp_path)
    with ExitStack() as stack:

        def module(text, name="beside_the_notebook"):
            (tmp_path / f"{name}.py").write_text(text)
            stack.callback(sys.modules.pop, name, None)
            stack.callback(linecache.checkcache)
            return __import__(name)

        yield module


def test_a_function_of_a_file_beside_the_notebook_travels_with_the_names_of_its_file(
    define, module
):
    module("LIMIT = 5\n\n\nclass Box:\n    size: int = 3\n\n\ndef helper():\n    return LIMIT\n")
    f = define(
        "LIMIT = 1\nfrom beside_the_notebook import Box, helper",
        "@db.query\ndef f(ctx): return [LIMIT, helper(), Box.size]",
    )
    travelling = kernels.captured(f)
    sources = {each.name: (each.place, each.line) for each in travelling.sources()}
    assert sources == {
        "f": ("In[3]", 2),
        "helper": ("beside_the_notebook.py", 8),
        "Box": ("beside_the_notebook.py", 4),
    }
    with livedb.open() as db:
        assert kernels.arrive(db, encode_function(travelling))() == [1, 5, 3]


def test_a_file_that_was_edited_since_its_import_is_refused(define, module, tmp_path):
    module("def helper():\n    return 1\n")
    (tmp_path / "beside_the_notebook.py").write_text("def helper():\n    return 2\n")
    f = define("from beside_the_notebook import helper", "@db.query\ndef f(ctx): return helper()")
    with pytest.raises(TravelError, match=r"beside_the_notebook.py is not what it was when it was"):
        kernels.captured(f)


def test_a_module_beside_the_notebook_travels_by_name(define, module):
    module("LIMIT = 5\n")
    f = define("import beside_the_notebook as b", "@db.query\ndef f(ctx): return b.LIMIT")
    assert kernels.captured(f).modules() == ["beside_the_notebook"]


def test_a_class_is_found_in_the_newest_cell_that_says_it(define):
    f = define(
        "class A:\n    x: int = 1",
        "class A:\n    x: int = 2",
        "class A:\n    x: int = 3\n    y: int = 4",
        "class A:\n    x: int = 2",
        "@db.query\ndef f(ctx): return A.x",
    )
    (source,) = [each for each in kernels.captured(f).sources() if each.name == "A"]
    assert (source.place, source.line) == ("In[5]", 1)


@pytest.mark.parametrize(
    "older",
    [
        "class A:\n    pass",
        "class A:\n    zzz = 2",
        "class A:\n    other: int = 1",
        "class A:\n    zzz = 1\n    def m(self): return 2",
        "class A:\n    zzz = 1\n    class m: pass",
    ],
)
def test_another_class_of_the_same_name_is_not_taken_for_one_made_by_exec(define, older):
    f = define(
        older,
        "exec('class A:\\n    zzz = 1\\n    def m(self): return 1')",
        "@db.query\ndef f(ctx): return A.zzz",
    )
    with pytest.raises(livedb.TravelError, match="'A', and nothing keeps its source"):
        kernels.captured(f)


def test_a_cell_below_a_magic_is_found(kernel):
    body = "def helper():\n    return 5\n"
    kernel.history.append(f"get_ipython().run_cell_magic('time', '', {body!r})")
    exec(compile(body, "<timed exec>", "exec", dont_inherit=True), kernel.names)
    kernel.run("@db.query\ndef f(ctx): return helper()")
    sources = {each.name: each for each in kernels.captured(kernel.names["f"]).sources()}
    assert (sources["helper"].place, sources["helper"].line) == ("In[2]", 2)


# -- what is taken ---------------------------------------------------------------------------------


def test_livedbs_own_decorators_stay_behind(define):
    f = define(
        "@db.table(\n    'users',\n    unique={'by_name': ['name']},\n)\nclass User: name: str",
        "@db.query(\n    name='users:f',\n    internal=True,\n)\ndef f(ctx) -> list[User]: ...",
    )
    travelling = kernels.captured(f)
    known = (travelling.name, travelling.kind, travelling.visibility)
    assert known == ("users:f", "query", "internal")
    assert not any("@" in source.text for source in travelling.sources())


def test_only_what_a_function_names_travels(define):
    f = define(
        "import math\nA = 1\nB = 2\ndef unused(): return B",
        "@db.query\ndef f(ctx): return A",
    )
    travelling = kernels.captured(f)
    assert [each.name for each in travelling.sources()] == ["f"]
    assert travelling.modules() == []
    assert len(travelling.things) == 2


def test_a_function_of_a_workspace_opened_anew_calls_itself(define, kernel):
    cell = "@db.query\ndef f(ctx, n: int): return 1 if n < 2 else n * f(n=n - 1)"
    before = kernel.names["f"] = define(cell)
    with livedb.open() as db:
        kernel.names["db"] = db
        f = define(cell)
        kernel.names["f"] = before  # as it still is while the decorator runs
        assert kernels.arrive(db, encode_function(kernels.captured(f)))(n=4) == 24


def test_a_fingerprint_stays_when_the_cell_runs_again(define):
    cell = "@db.query\ndef f(ctx): return [helper(), LIMITS]"
    before = "LIMITS = {3, 1, 2}\ndef helper(): return 1"
    first = kernels.captured(define(before, cell)).fingerprint
    assert kernels.captured(define(before, "# moved\n" + cell)).fingerprint == first


@pytest.mark.parametrize(
    "change",
    [
        "LIMIT = 2",
        "LIMIT = 1.0",
        "LIMIT = True",
        "def helper(): return 2",
        "class Box:\n    size = 2",
        "KEY = 'b'",
    ],
)
def test_a_fingerprint_changes_with_what_the_function_uses(define, kernel, change):
    f = define(
        "LIMIT = 1\nKEY = 'a'\ndef helper(): return KEY\nclass Box:\n    size = 1",
        "@db.query\ndef f(ctx): return [LIMIT, helper(), Box.size]",
    )
    before = kernels.captured(f).fingerprint
    kernel.run(change)
    assert kernels.captured(f).fingerprint != before


# -- bounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before, message",
    [
        ("used = 'x' * (1 << 20)", "takes 1,048,578 bytes of values along, and 1,048,576 are"),
        (
            "\n".join(f"def f{n}(): return f{n + 1}" for n in range(201))
            + "\ndef f201(): return 1\nused = f0",
            "takes 202 helper functions and classes along, and 200 are allowed",
        ),
        (
            "def used():\n    x = '''" + "y" * (256 << 10) + "'''",
            "bytes of source along, and 262,144 are allowed",
        ),
        (
            "used = [(n,) for n in range(6_000)]",
            "names and values along, and 10,000 are allowed. Load its data into a table",
        ),
    ],
)
def test_a_function_that_takes_too_much_along_is_refused(define, before, message):
    f = define(before, "@db.query\ndef f(ctx): return used")
    with pytest.raises(TravelError) as caught:
        kernels.captured(f)
    assert message in str(caught.value)
    assert caught.value.code == "TravelTooLarge"
