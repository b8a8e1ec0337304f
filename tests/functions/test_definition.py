"""Definitions: arguments and results by annotation or by hand, modules, names, warnings."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pickle
import sys
import types
import warnings
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

import livedb
from livedb import UNSET, Missing, v
from livedb.errors import (
    ArgumentValidationError,
    FunctionNotFoundError,
    InvalidValueError,
    LivedbError,
    ReturnsValidationError,
    SchemaDefinitionError,
)
from livedb.functions.definition import Registry, define, marked_function
from livedb.functions.purity import ImpureFunctionWarning
from livedb.values import same_value

NUMBERS = [1, 2, 3]


# -- arguments and results -------------------------------------------------------------------------


def test_annotations_are_the_validators(memory):
    @memory.query
    def repeat(ctx, text: str, times: int = 2, *, loud: bool = False) -> str:
        """Repeats text."""
        return (text.upper() if loud else text) * times

    assert repeat("ab") == "abab"
    assert repeat("a", 3, loud=True) == "AAA"
    assert repeat(text="a", times=3.0) == "aaa"
    assert repeat.__doc__ == "Repeats text."
    assert str(inspect.signature(repeat)).startswith("(text: 'str', times: 'int' = 2")
    assert repeat.__wrapped__(None, "x") == "xx"
    for wrong in ({"text": 1}, {}, {"text": "a", "times": 1.5}, {"text": "a", "more": 1}):
        with pytest.raises(ArgumentValidationError) as caught:
            repeat(**wrong)
        assert caught.value.code == "ArgumentValidationError"
        assert str(caught.value).startswith("repeat: ")
    with pytest.raises(TypeError, match="positional arguments"):
        repeat("a", 2, False, 4)
    with pytest.raises(TypeError, match="multiple values for argument 'text'"):
        repeat("a", text="b")


def test_validators_given_by_hand_win(memory):
    @memory.query(args={"low": v.number(), "tag": v.optional(v.string())}, returns=v.string())
    def shown(ctx, low, tag=UNSET):
        return 7 if tag == "wrong" else f"{low!r} {tag!r}"

    assert shown(low=3) == "3.0 UNSET"
    assert shown(low=1, tag="x") == "1.0 'x'"
    with pytest.raises(ArgumentValidationError):
        shown(low="3")
    with pytest.raises(ArgumentValidationError):
        shown(low=1, other=2)
    with pytest.raises(ReturnsValidationError):
        shown(low=1, tag="wrong")


def test_a_trailing_underscore_is_dropped_on_the_wire(memory):
    @memory.query
    def between(ctx, from_: int, to: int):
        return from_, to

    assert between(from_=1, to=2) == between(1, 2) == [1, 2]
    assert between(**{"from": 1}, to=2) == [1, 2]
    assert set(between.definition.signature.args.fields) == {"from", "to"}


def test_an_argument_that_may_be_absent_becomes_unset(memory):
    @memory.query
    def maybe(ctx, note: str | Missing):
        return note is UNSET

    assert maybe() is True
    assert maybe(note="x") is False
    assert maybe(note=UNSET) is True


def test_further_arguments_are_taken_by_kwargs(memory):
    @memory.query
    def free(ctx, **rest: int):
        return rest

    assert free(a=1, b=2) == {"a": 1, "b": 2}
    with pytest.raises(ArgumentValidationError):
        free(a="x")


def test_a_default_is_used_when_the_argument_is_absent(memory):
    @memory.query
    def limited(ctx, count: int = 5):
        return count

    assert limited() == 5
    assert limited.live().value == 5


def test_arguments_are_private_copies(memory):
    given = {"tags": ["x"]}

    @memory.query
    def change(ctx, what: dict):
        what["tags"].append("y")
        return what

    assert change(what=given) == {"tags": ["x", "y"]}
    assert given == {"tags": ["x"]}


def test_a_function_without_a_context_is_refused(memory):
    with pytest.raises(SchemaDefinitionError, match="context"):

        @memory.query
        def nothing():
            return 1


# -- names -----------------------------------------------------------------------------------------


def test_a_function_is_found_by_name(memory):
    @memory.query
    def open_tasks(ctx):
        return 1

    @memory.mutation(name="other")
    def add(ctx):
        return 2

    assert memory.functions == ["open_tasks", "other"]
    assert memory.function("open_tasks")() == 1
    assert memory.function("other")() == 2
    with pytest.raises(FunctionNotFoundError) as caught:
        memory.function("open_task")
    assert str(caught.value) == ("Could not find function 'open_task'. Did you mean 'open_tasks'?")
    assert caught.value.code == "FunctionPathNotFound"


@pytest.mark.parametrize(
    "count, advice",
    [
        (0, "None is defined yet: decorate one with @db.query or @db.mutation."),
        (1, "There is 'f0'."),
        (2, "There are 'f0', 'f1'."),
        (9, "There are 9, such as 'f0', 'f1', 'f2', 'f3', 'f4'; db.functions lists them."),
    ],
)
def test_whoever_asks_for_an_unknown_function_learns_which_there_are(memory, count, advice):
    for at in range(count):
        memory.query(name=f"f{at}")(lambda ctx: 1)
    with pytest.raises(FunctionNotFoundError) as caught:
        memory.function("nope")
    assert str(caught.value) == f"Could not find function 'nope'. {advice}"


def test_an_older_decorated_function_follows_its_name(memory):
    @memory.query
    def f(ctx):
        return 1

    old = f

    @memory.query
    def f(ctx, n: int):
        return n

    assert old(n=3) == 3
    assert old.definition.version == f.definition.version


def test_functions_and_db_cannot_be_pickled(memory):
    @memory.query
    def f(ctx):
        return 1

    for unpicklable in (f, memory, f.live()):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(unpicklable)


def test_defining_inside_a_function_is_refused(memory):
    @memory.mutation
    def define(ctx):
        @memory.query
        def inner(ctx):
            return 1

    with pytest.raises(LivedbError, match="cannot define a function"):
        define()

    @memory.mutation
    def define_table(ctx):
        @memory.table("a")
        class A:
            n: int

    with pytest.raises(LivedbError, match="cannot define a table"):
        define_table()


# -- modules ---------------------------------------------------------------------------------------

MODULE = """
import livedb
from livedb import define_schema, define_table, v
from livedb import internal_mutation, internal_query, mutation, query

schema = define_schema({"notes": define_table({"text": v.string(), "rank": v.number()})
    .index("by_rank", ["rank"])})

@query
def ranked(ctx, low: float = 0):
    notes = ctx.db.query("notes").with_index("by_rank", lambda q: q.gte("rank", low))
    return [note.text for note in notes]

@mutation(args={"text": v.string(), "rank": v.number()}, returns=v.id("notes"))
def add(ctx, text, rank):
    ctx.run_mutation("pkg/notes:log", text=text)
    return ctx.db.insert("notes", {"text": text, "rank": rank})

@internal_mutation
def log(ctx, text: str):
    ctx.db.insert("log", {"text": text})

@internal_query
def hidden(ctx):
    return ctx.db.count("log")

def helper(ctx):
    return 1
"""


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """`imported(name, text)`: a module `pkg.name` of a file."""
    package = tmp_path / "modules" / "pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(package.parent)

    def imported(name, text):
        (package / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(f"pkg.{name}")

    yield imported
    for name in [name for name in sys.modules if name.partition(".")[0] == "pkg"]:
        del sys.modules[name]


@pytest.fixture
def module(imported):
    return imported("notes", MODULE)


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_a_module_says_internal_as_a_cell_does(kind):
    @getattr(livedb, kind)(internal=True)
    def function(ctx):
        return 1

    found = marked_function(function)
    assert (found.kind, found.visibility) == (kind, "internal")


def test_a_module_is_pushed_with_schema_and_functions(db, module):
    assert sorted(db.push(module)) == [
        "pkg/notes:add",
        "pkg/notes:hidden",
        "pkg/notes:log",
        "pkg/notes:ranked",
    ]
    add, ranked = db.function("pkg/notes:add"), db.function("pkg/notes:ranked")
    add(text="b", rank=2)
    add(text="a", rank=1)
    assert ranked() == ["a", "b"]
    assert ranked(low=2) == ["b"]
    assert db["log"].count() == 2
    assert db["notes"].schema.indexes[0].name == "by_rank"
    assert db.function("pkg/notes:hidden").definition.visibility == "internal"
    assert module.helper(None) == 1
    assert module.ranked.__name__ == "ranked"
    with pytest.raises(livedb.SchemaEnforcementError):
        db["notes"].insert({"text": "x"})


def test_pushing_again_redefines(db, module):
    db.push(module)
    handle = db.function("pkg/notes:ranked").live()
    db.function("pkg/notes:add")(text="a", rank=1)

    def ranked(ctx, low: float = 0):
        return ["redefined"]

    ranked.__module__ = module.__name__
    module.ranked = livedb.query(ranked)
    before = db.number
    db.push(module)
    assert handle.value == ["redefined"]
    assert db.number == before + 1  # the function is another; the schema is as it was


def test_only_functions_of_the_module_itself_are_pushed(memory, module):
    other = types.ModuleType("other")
    other.add = module.add
    other.own = livedb.query(lambda ctx: 1)
    other.own.__module__, other.own.__name__ = "other", "own"
    assert memory.push(other) == ["other:own"]


@pytest.mark.parametrize("wrong", ["x", None, livedb.Limits, {"f": 1}])
def test_push_takes_a_module_or_a_schema(memory, wrong):
    with pytest.raises(livedb.FunctionTypeError, match=r"import tasks; db\.push\(tasks\)"):
        memory.push(wrong)


def test_a_module_with_nothing_to_push_is_refused(memory, module):
    other = types.ModuleType("other")
    other.add = module.add
    with pytest.raises(livedb.FunctionTypeError, match="'other' has nothing to push"):
        memory.push(other)


# -- warnings --------------------------------------------------------------------------------------


def test_a_query_that_reads_a_global_list_warns_once(memory):
    with pytest.warns(ImpureFunctionWarning, match="total: it reads the global 'NUMBERS'") as found:

        @memory.query
        def total(ctx):
            return sum(NUMBERS) + len(NUMBERS)

    assert len(found) == 1
    assert total() == 9


def test_pure_functions_are_not_warned_of(memory):
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @memory.query
        def pure(ctx):
            return inspect.cleandoc("x"), ctx.now.isoformat()[:0]

    assert pure()[0] == "x"


# -- kinds of function that a call would only prepare ----------------------------------------------


async def wait(ctx):
    pass


async def stream(ctx):
    yield 1


def rows(ctx):
    yield 1


@pytest.mark.parametrize(
    "function, found", [(wait, "async def"), (stream, "async def"), (rows, "a generator")]
)
@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_async_and_generator_functions_are_refused_when_defined(memory, kind, function, found):
    with pytest.raises(SchemaDefinitionError, match=f"a {kind} is a plain `def`, .*{found}"):
        getattr(memory, kind)(function)
    assert memory.functions == []


# -- names on the wire -----------------------------------------------------------------------------


def test_alias_names_an_argument_on_the_wire(memory):
    @memory.query(alias={"since": "from", "kind_": "kind_"})
    def span(ctx, since: int, kind_: str = "x") -> str:
        return f"{since} {kind_}"

    assert span.definition.signature.wire_names == {"since": "from", "kind_": "kind_"}
    assert span(1) == span(since=1) == span(**{"from": 1}) == "1 x"
    with pytest.raises(SchemaDefinitionError, match="alias names nope"):
        memory.mutation(alias={"nope": "x"})(lambda ctx: None)


def test_a_modules_function_has_its_alias(memory):
    made = types.ModuleType("aliased")

    def span(ctx, since: int) -> int:
        return since

    span.__module__ = "aliased"
    made.span = livedb.internal_query(alias={"since": "from"})(span)
    memory.push(made)
    assert memory.function("aliased:span")(**{"from": 3}) == 3


# -- calls of a module's own functions -------------------------------------------------------------


FUNCTIONS = """
import livedb

@livedb.mutation
def add(ctx, x: int) -> str:
    return ctx.db.insert("t", {"x": x})

@livedb.internal_query
def total(ctx, above: int = 0) -> int:
    return sum(row.x for row in ctx.db.query("t") if row.x > above)
"""


@pytest.fixture
def pushed(memory, imported):
    """A module pushed as `pkg.mm` with the mutation `add` and the query `total`."""
    made = imported("mm", FUNCTIONS)
    memory.push(made)
    return made


def test_a_modules_own_function_is_called_by_the_function_itself(memory, pushed):
    @memory.mutation
    def work(ctx):
        ctx.run_mutation(pushed.add, x=1)
        ctx.run_mutation(pushed.add, {"x": 2})
        return ctx.run_query(pushed.total), ctx.run_query("pkg/mm:total", {"above": 1})

    assert work() == [3, 2]


def test_arguments_by_position_are_one_dict(memory, pushed):
    calls = [
        (lambda ctx: ctx.run_mutation(pushed.add, 1), livedb.FunctionTypeError, r"\{'x': 1\}"),
        (lambda ctx: ctx.run_mutation(pushed.add, {"x": 1}, x=1), TypeError, "multiple values"),
    ]
    for call, error, message in calls:
        with pytest.raises(error, match=message):
            memory.mutation(name="work")(call)()


# -- results that no annotation checks -------------------------------------------------------------


RESULTS_REFUSED = {
    "a set": (lambda ctx: {1, 2}, ""),
    "a set in a row": (lambda ctx: [{"a": 1}, {"a": [{1}]}], "[1].a[0]"),
    "an object": (lambda ctx: {"a": object()}, ".a"),
    "an iterator": (lambda ctx: iter([1]), ""),
    "documents not read": (lambda ctx: ctx.db.query("t"), ""),
}


@pytest.mark.parametrize("result", RESULTS_REFUSED)
def test_a_result_that_is_no_value_is_refused_however_the_function_is_asked(memory, result):
    give, path = RESULTS_REFUSED[result]
    memory["t"].insert({"n": 1})
    query, mutation = memory.query(name="q")(give), memory.mutation(name="m")(give)
    for call in (query, mutation, lambda: asyncio.run(query.aio())):
        with pytest.raises(
            InvalidValueError, match=r"^[qm]: its result is no .* value: "
        ) as caught:
            call()
        assert caught.value.path == path
    error = query.live().error
    assert isinstance(error, InvalidValueError)
    assert str(error).startswith("q: its result is no livedb value: ")
    assert error.path == path


def test_what_a_function_put_into_a_document_it_read_is_refused_as_its_result(memory):
    memory["t"].insert({"n": 1})

    @memory.query
    def tagged(ctx):
        found = ctx.db.query("t").collect()
        found[0]["tags"] = {1}
        return found

    error = tagged.live().error
    assert isinstance(error, InvalidValueError)
    assert str(error).startswith("tagged: its result is no livedb value: ")


@pytest.mark.parametrize(
    "given, value",
    [
        ((1, 2), [1, 2]),
        ([(1, 2)], [[1, 2]]),
        (Decimal("1.5"), 1.5),
        ({"on": date(2026, 1, 2)}, {"on": datetime(2026, 1, 2, tzinfo=UTC)}),
    ],
)
def test_a_result_is_converted_alike_however_the_function_is_asked(memory, given, value):
    query = memory.query(name="q")(lambda ctx: given)
    for found in (query(), query.live().value, asyncio.run(query.aio())):
        assert same_value(found, value)


def test_a_document_inside_of_a_result_still_reads_as_one(memory):
    made = memory["t"].insert({"n": 1})

    @memory.query
    def both(ctx):
        document = ctx.db.get(made)
        return {"one": document, "pair": (document, [document])}

    found = both()
    assert (found.one.n, found.pair[0].n, found["pair"][1][0].n) == (1, 1, 1)


def test_a_result_of_sql_is_converted_alike_however_the_function_is_asked(memory):
    memory["t"].insert({"n": 1})

    @memory.query
    def rows(ctx):
        return ctx.db.sql("select date '2026-01-02' as day, 1.5 as share, n from t")

    expected = [{"day": datetime(2026, 1, 2, tzinfo=UTC), "share": 1.5, "n": 1}]
    assert same_value(rows(), expected)
    assert same_value(rows.live().value, expected)
    assert rows()[0].share == 1.5


@pytest.mark.local("asks whether it is the very same list")
def test_documents_are_handed_on_as_they_were_read(memory):
    memory["t"].insert([{"n": 1}, {"n": [{"x": 2}]}])
    read = []

    @memory.query
    def all_of_it(ctx):
        read.append(ctx.db.query("t").collect())
        return read[0]

    assert all_of_it() is read[0]


def test_the_version_of_a_registry_differs_when_a_function_is_dropped():
    registry = Registry()
    registry.define(define(lambda ctx: 1, kind="query", name="one"))
    before = registry.version
    assert registry.replace([], gone=["one", "two"]) == {"one"}
    assert registry.version != before


def test_a_query_that_was_redefined_as_a_mutation_commits_nothing(db):
    @db.query
    def count(ctx) -> int:
        return 0

    before = count

    @db.mutation
    def count(ctx) -> int:
        ctx.db.insert("notes", {})
        return 1

    for call in (before, before.live, lambda: asyncio.run(before.aio())):
        with pytest.raises(livedb.FunctionTypeError, match="'count' was redefined as a mutation"):
            call()
    assert "notes" not in db.tables
    assert count() == 1


DIRECT = """
import livedb
from pkg import mm

@livedb.mutation
def lacking(ctx, x: int) -> str:
    return mm.add(x=x)

@livedb.mutation
def nested(ctx, x: int) -> str:
    return ctx.run_mutation("pkg/mm:add", {"x": x})

@livedb.mutation
def plain(ctx, x: int) -> str:
    return mm.add(ctx, x=x)

@livedb.mutation
def wrong(ctx, x: int) -> str:
    return mm.add(ctx)
"""


def test_a_modules_function_called_without_ctx_says_what_to_write(memory, imported, pushed):
    memory.push(imported("direct", DIRECT))
    with pytest.raises(livedb.FunctionTypeError) as caught:
        memory.function("pkg/direct:lacking")(x=1)
    assert "called add() without its ctx" in str(caught.value)
    assert 'ctx.run_mutation("pkg/mm:add", {..})' in str(caught.value)
    memory.function("pkg/direct:nested")(x=1)
    memory.function("pkg/direct:plain")(x=2)
    with pytest.raises(TypeError, match="'x'"):
        memory.function("pkg/direct:wrong")(x=3)
    assert [row.x for row in memory["t"]] == [1, 2]
