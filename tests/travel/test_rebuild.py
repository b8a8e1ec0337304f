"""What arrives is rebuilt as it was, or refused by name; the service is none the worse."""

from __future__ import annotations

import contextlib
import gc
import linecache
import sys
import traceback

import kernel as kernels  # beside this file
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import livedb
from livedb.errors import LivedbError, TravelError
from livedb.schema.catalog import Catalog
from livedb.testing.strategies import values
from livedb.travel.capture import capture
from livedb.travel.parcel import (
    AttributeThing,
    FunctionThing,
    ListThing,
    MadeThing,
    MemberThing,
    ModuleThing,
    TravellingFunction,
    ValueThing,
    decode_function,
    encode_function,
)
from livedb.travel.rebuild import rebuild
from tests.thorough import examples

pytestmark = pytest.mark.filterwarnings("ignore::livedb.functions.purity.ImpureFunctionWarning")


def rebuilt(travelling):
    return rebuild(travelling, tables=Catalog(), call=lambda *_: None)


def arrived(f):
    """The definition that a service makes of what a function of a cell travels as."""
    return rebuilt(decode_function(encode_function(kernels.captured(f))))


def with_thing(travelling, *things):
    """The function with its global `x` meaning the last of these further things."""
    (root, *rest) = travelling.things
    assert isinstance(root, FunctionThing)
    last = len(travelling.things) + len(things) - 1
    root = msgspec.structs.replace(root, names={"x": last})
    return msgspec.structs.replace(travelling, things=(root, *rest, *things))


@pytest.fixture
def travelling(define):
    return kernels.captured(define("x = 1", "@db.query\ndef f(ctx): return x"))


# -- values ----------------------------------------------------------------------------------------

hashable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
python_values = st.recursive(
    values()
    | hashable
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes()
    | st.datetimes(timezones=st.timezones())
    | st.decimals(allow_nan=False)
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
    ),
    max_leaves=12,
)

x = None


def reads_a_global(_ctx):
    return x


@settings(deadline=None)
@given(python_values)
def test_a_value_arrives_as_it_was_types_included(value):
    global x  # noqa: PLW0603 - a global is what is tested
    x = value
    travelling = decode_function(encode_function(capture(reads_a_global, kind="query")))
    assert shape(rebuilt(travelling).handler(None)) == shape(value)


def shape(value):
    """A value with its types; the order within a set says nothing."""
    if isinstance(value, dict):
        return (type(value), [(shape(name), shape(item)) for name, item in value.items()])
    if isinstance(value, list | tuple):
        return (type(value), [shape(item) for item in value])
    if isinstance(value, set | frozenset):
        return (type(value), sorted(repr(shape(item)) for item in value))
    return (type(value), repr(value))


# -- tracebacks ------------------------------------------------------------------------------------


def test_a_traceback_shows_the_lines_of_the_cell(define):
    f = define(
        "# above\n\ndef helper(x):\n    y = x\n    raise ValueError(y)",
        "\n\n@db.query\ndef f(ctx):\n    return helper(3)",
    )
    with pytest.raises(ValueError, match="3") as caught:
        arrived(f).handler(None)
    frames = traceback.extract_tb(caught.tb)[-2:]
    assert [(frame.lineno, frame.line) for frame in frames] == [
        (5, "return helper(3)"),
        (5, "raise ValueError(y)"),
    ]
    assert [frame.filename.rpartition(" ")[0] for frame in frames] == [
        "<f of In[3]",
        "<helper of In[2]",
    ]


def test_a_rebuilt_function_can_travel_on(define):
    f = define("LIMIT = 4", "@db.query\ndef f(ctx, n: int = 2): return n + LIMIT")
    again = capture(arrived(f).handler, kind="query")
    assert rebuilt(again).handler(None) == 6


def test_nothing_is_left_of_a_function_that_is_gone(define):
    f = define(
        "class A:\n    x: int = 1\n    def m(self): return f0()\ndef f0(): return A",
        "@db.query\ndef f(ctx): return A().m()",
    )
    files, modules = set(linecache.cache), set(sys.modules)
    definition = arrived(f)
    assert set(sys.modules) == modules
    assert set(linecache.cache) > files
    del definition
    gc.collect()
    assert set(linecache.cache) <= files


# -- tables and other functions --------------------------------------------------------------------


def test_a_class_means_the_table_as_the_workspace_has_it_by_now(define, kernel):
    f = define(
        "@db.table('users')\nclass User:\n    name: str",
        "@db.query\ndef f(ctx) -> list[User]: return ctx.db.query(User).collect()",
    )
    parcel = encode_function(kernels.captured(f))
    kernel.run("@db.table('users')\nclass User2:\n    name: str\n    age: int = 5")
    kernel.run("db['users'].insert({'name': 'Ann'})")
    (ann,) = kernels.arrive(kernel.names["db"], parcel)()
    assert (ann.name, ann.age) == ("Ann", 5)


def test_a_class_of_a_table_that_is_gone_means_what_it_says(define):
    f = define(
        "@db.table('users')\nclass User:\n    name: str",
        "@db.query\ndef f(ctx) -> list[User]: return []",
    )
    assert arrived(f).signature.returns == f.definition.signature.returns


def test_another_function_runs_within_the_run_in_progress(define, kernel):
    f = define(
        "@db.mutation\ndef add(ctx, n: int): return ctx.db.insert('t', {'n': n})",
        "@db.mutation\ndef f(ctx):\n    add(n=1)\n    raise KeyError",
    )
    db = kernel.names["db"]
    function = kernels.arrive(db, encode_function(kernels.captured(f)))
    with pytest.raises(KeyError):
        function()
    assert db["t"].collect() == []


def test_the_workspace_is_the_one_that_the_function_came_to(define):
    f = define("@db.query\ndef f(ctx): return db['t'].count()")
    parcel = encode_function(kernels.captured(f))
    with livedb.open() as there:
        there["t"].insert([{"n": 1}, {"n": 2}])
        function = kernels.arrive(there, parcel)
        handle = function.live()
        assert (function(), handle.value) == (2, 2)
        there["t"].insert({"n": 3})
        assert (function(), handle.value) == (3, 3)
    with pytest.raises(TravelError, match=r"has no `db`.* the workspace is ctx\.db"):
        arrived(f)


# -- refusals --------------------------------------------------------------------------------------


def test_a_module_that_the_service_lacks_is_named(travelling):
    with pytest.raises(TravelError) as caught:
        rebuilt(with_thing(travelling, ModuleThing("no_such_module")))
    assert caught.value.code == "ModuleMissing"
    assert str(caught.value).startswith(
        "f cannot run on the service: it uses the module 'no_such_module', which is not installed "
    )


def test_a_module_that_has_not_what_is_used_is_named(travelling):
    with pytest.raises(TravelError, match=r"'math' there has no 'no[.]such'") as caught:
        rebuilt(with_thing(travelling, AttributeThing("math", "no.such")))
    assert caught.value.code == "ModuleMissing"


def test_a_module_that_fails_to_import_is_named(travelling, tmp_path, monkeypatch):
    (tmp_path / "failing_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TravelError, match="'failing_module', which cannot be imported there: div"):
        rebuilt(with_thing(travelling, ModuleThing("failing_module")))


def test_a_class_body_that_raises_is_named(define):
    f = define(
        "FACTS = {'a': 1}\nclass Config:\n    a = FACTS['a']",
        "FACTS = {}",
        "@db.query\ndef f(ctx): return Config.a",
    )
    with pytest.raises(TravelError, match=r"'Config', line 2 of In\[2\], raises KeyError: 'a'"):
        arrived(f)


@pytest.mark.parametrize(
    "things",
    [
        (ListThing((99,)),),
        (ListThing((1,)), ListThing((-1,))),
        (MadeThing("nothing", 0),),
        (MadeThing("Decimal", 0),),
        (MadeThing("tuple", 2),),
        (ValueThing("{"),),
        (ValueThing('{"$float": "x"}'),),
        (MemberThing(0, "nothing"),),
    ],
)
def test_what_no_livedb_sends_is_refused(travelling, things):
    with pytest.raises(TravelError) as caught:
        rebuilt(with_thing(travelling, *things))
    assert caught.value.code == "BadParcel"


@pytest.mark.parametrize(
    "change",
    [
        {"text": "x = 1\n"},
        {"text": "def f(:\n"},
        {"text": "def f(ctx): pass\ndef g(ctx): pass\n"},
        {"text": ""},
        {"form": "class"},
        {"form": "lambda"},
        {"line": 0},
        {"line": 10**12},  # its lines would be blank ones in memory
        {"name": "g"},
    ],
)
def test_source_that_is_something_else_is_refused(travelling, change):
    (root, *rest) = travelling.things
    root = msgspec.structs.replace(root, source=msgspec.structs.replace(root.source, **change))
    with pytest.raises(TravelError) as caught:
        rebuilt(msgspec.structs.replace(travelling, things=(root, *rest)))
    assert caught.value.code == "BadParcel"


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_bytes_that_are_no_function_are_refused(data):
    with pytest.raises(TravelError, match="Not a travelling function"):
        decode_function(data)


@settings(deadline=None, max_examples=examples(200))
@given(st.data())
def test_a_parcel_with_one_part_changed_is_refused_or_rebuilt(data):
    """With a typed error or without one: a service must not fall over."""
    global x  # noqa: PLW0603 - a global is what is tested
    x = [1, {2, 3}, len, {"a": int}]
    parts = msgspec.msgpack.decode(encode_function(capture(reads_a_global, kind="query")))
    target, key = data.draw(st.sampled_from(list(places(parts))))
    target[key] = data.draw(
        st.none()
        | st.integers(-(2**63), 2**63)
        | st.text(max_size=5)
        | st.lists(st.integers(-9, 9), max_size=2)
    )
    with contextlib.suppress(LivedbError):
        rebuilt(decode_function(msgspec.msgpack.encode(parts)))


def places(parts):
    """Every (container, key) of what was decoded."""
    for key, part in list(parts.items() if isinstance(parts, dict) else enumerate(parts)):
        yield parts, key
        if isinstance(part, dict | list):
            yield from places(part)


def test_the_root_is_a_function():
    travelling = TravellingFunction(
        name="f", kind="query", visibility="public", root=0, things=(AttributeThing("math", "pi"),)
    )
    with pytest.raises(TravelError, match="f is no function"):
        rebuilt(travelling)
