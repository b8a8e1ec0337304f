"""A folder of modules as functions: names, neighbours, errors, and loading again."""

from __future__ import annotations

import json
import sys
import textwrap

import pytest

import livedb
import livedb.testing
from livedb.commitlog.payload import (
    REMOVED,
    FunctionsPart,
    SchemaPart,
    decode_payload,
    functions_of,
)
from livedb.errors import FunctionLoadError, FunctionNotFoundError, SchemaChangeError
from livedb.functions.loader import LOADS_KEPT, FunctionFolder

pytestmark = pytest.mark.local("a folder is pushed to the workspace itself")

QUERY = """
from livedb import query

@query
def answer(ctx) -> int:
    return {answer}
"""


@pytest.fixture
def folder(tmp_path):
    """Writes files into a folder, and loads it."""
    root = tmp_path / "functions"
    root.mkdir()
    loader = FunctionFolder(root)

    def write(files):
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return loader

    write.root = root
    yield write
    loader.close()


def names(loaded):
    return [function.name for function in loaded.functions]


def call(loaded, name):
    (found,) = [function for function in loaded.functions if function.name == name]
    return found.handler(None)


# -- names -----------------------------------------------------------------------------------------


def test_a_function_is_named_by_its_file_and_itself(folder):
    loader = folder(
        {
            "tasks.py": QUERY.format(answer=1),
            "a/b.py": QUERY.format(answer=2),
            "a/deep/er/c.py": QUERY.format(answer=3),
            "words.py": "def helper(): ...",
        }
    )
    loaded = loader.load()
    assert names(loaded) == ["a/b:answer", "a/deep/er/c:answer", "tasks:answer"]
    assert [call(loaded, name) for name in names(loaded)] == [2, 3, 1]


def test_functions_of_a_folder_are_given_as_objects_too(folder):
    loaded = folder(
        {
            "jobs.py": """
                from livedb import mutation, query

                @mutation
                def add(ctx, n: int) -> None:
                    ctx.db.insert("t", {"n": n})

                @query
                def numbers(ctx) -> list[int]:
                    return [row["n"] for row in ctx.db.query("t").collect()]
            """,
            "deep/other.py": """
                from jobs import add, numbers
                from livedb import action, mutation

                @mutation
                def later(ctx) -> str:
                    ctx.run_mutation(add, n=1)
                    return ctx.scheduler.run_after(0, add, n=2)

                @action
                def both(ctx) -> list[int]:
                    ctx.run_mutation(add, n=3)
                    return ctx.run_query(numbers)
            """,
        }
    ).load()
    with livedb.testing.workspace() as trial:
        trial.db.backend.workspace.push_functions(loaded)
        trial.db.function("deep/other:later")()
        trial.run_scheduled()
        assert trial.db.function("deep/other:both")() == [1, 2, 3]


def test_what_starts_with_an_underscore_or_a_dot_holds_no_functions_but_can_be_imported(folder):
    loaded = folder(
        {
            "_shared.py": QUERY.format(answer=1) + "\nSEVEN = 7\n",
            "_lib/words.py": "EIGHT = 8",
            "a/__init__.py": QUERY.format(answer=1),
            ".hidden/x.py": "1 / 0",
            "tasks.py": """
                import livedb
                from _shared import SEVEN
                from _lib.words import EIGHT
                import _lib.words

                @livedb.query
                def sum(ctx) -> int:
                    return SEVEN + EIGHT + _lib.words.EIGHT
            """,
        }
    ).load()
    assert names(loaded) == ["tasks:sum"]
    assert call(loaded, "tasks:sum") == 23


def test_a_function_belongs_to_the_module_that_makes_it(folder):
    loaded = folder(
        {
            "_make.py": """
                from livedb import query

                def constant(value):
                    @query
                    def made(ctx) -> int:
                        return value
                    return made
            """,
            "first.py": "from _make import constant\none = constant(1)\ntwo = constant(2)\n",
            "second.py": "from first import one\n",
        }
    ).load()
    assert names(loaded) == ["first:one", "first:two"]
    assert call(loaded, "first:two") == 2


def test_a_file_that_can_be_no_module_is_refused(folder):
    with pytest.raises(FunctionLoadError, match="'my-tasks' cannot be part of a module's name"):
        folder({"my-tasks.py": ""}).load()


def test_there_must_be_a_folder(tmp_path):
    with pytest.raises(FunctionLoadError, match="There is no folder"):
        FunctionFolder(tmp_path / "nowhere")


# -- neighbours ------------------------------------------------------------------------------------


def test_modules_import_each_other_by_short_names_and_by_relative_ones(folder):
    loaded = folder(
        {
            "prices.py": "VAT = 20\n",
            "shop/cart.py": """
                import livedb
                import prices
                import shop.rules
                from prices import VAT
                from shop import rules
                from . import rules as same
                from ..prices import VAT as again

                @livedb.query
                def total(ctx) -> list[int]:
                    import prices as late
                    assert rules is same is shop.rules
                    return [prices.VAT, VAT, again, late.VAT, rules.LIMIT]
            """,
            "shop/rules.py": "LIMIT = 5\n",
        }
    ).load()
    assert call(loaded, "shop/cart:total") == [20, 20, 20, 20, 5]
    assert "prices" not in sys.modules
    assert "shop" not in sys.modules


def test_the_standard_library_wins_over_a_module_of_its_name(folder):
    loaded = folder(
        {
            "http.py": "import livedb\nhttp = livedb.HttpRouter()\n",
            "tasks.py": """
                import livedb
                from http import HTTPStatus
                from .http import http

                @livedb.query
                def status(ctx) -> str:
                    return f"{HTTPStatus.OK} {http}"
            """,
        }
    ).load()
    assert call(loaded, "tasks:status") == "200 <HttpRouter: no routes>"


def test_dataclasses_and_annotations_find_their_module(folder):
    loaded = folder(
        {
            "tasks.py": """
                from __future__ import annotations
                from dataclasses import dataclass
                from livedb import QueryContext, query

                @dataclass
                class Pair:
                    one: int
                    two: int = 2

                @query
                def pair(ctx: QueryContext, one: int) -> int:
                    return Pair(one).two
            """
        }
    ).load()
    (pair,) = loaded.functions
    assert pair.bind((), {"one": 3.0}) == {"one": 3}


# -- the four names --------------------------------------------------------------------------------


def test_schema_and_auth_config_are_read(folder):
    loaded = folder(
        {
            "schema.py": """
                from livedb import define_schema, define_table, v
                schema = define_schema({"tasks": define_table({"title": v.string()})})
            """,
            "auth_config.py": "providers = [{'domain': 'https://a.test', 'applicationID': 'x'}]",
            "crons.py": "",
        }
    ).load()
    assert [table.name for table in loaded.schema] == ["tasks"]
    assert loaded.auth_providers == [{"domain": "https://a.test", "applicationID": "x"}]
    assert loaded.notes == ["crons.py makes no object named 'crons', so it declares nothing"]


def test_the_routes_of_http_are_functions_named_as_routes(folder):
    loaded = folder(
        {
            "http.py": """
                from livedb import HttpRouter
                from hooks import stripe
                http = HttpRouter()
                http.route(path="/stripe", method="POST", handler=stripe)

                @http.route(path_prefix="/files/", method=["GET", "DELETE"])
                async def files(ctx, request): ...
            """,
            "hooks.py": """
                import livedb

                @livedb.http_action
                def stripe(ctx, request): ...
            """,
        }
    ).load()
    assert [(each.name, each.kind) for each in loaded.functions] == [
        ("DELETE /files/*", "http_action"),
        ("GET /files/*", "http_action"),
        ("POST /stripe", "http_action"),
    ]


@pytest.mark.parametrize(
    "file,text,message",
    [
        ("http.py", "x = 1", r"http.py: http = livedb.HttpRouter\(\) is expected.* None"),
        ("http.py", "http = 3", r"http.py: http = livedb.HttpRouter\(\) is expected.* 3"),
        (
            "http.py",
            "import livedb\nhttp = livedb.HttpRouter()\nhttp.route(path='x', method='GET')",
            "http.py:3: RouteError: path 'x' must start with a '/'",
        ),
        (
            "http.py",
            "from livedb import HttpRouter as R\n@R().route(path='/x', method='GET')\ndef x(c): 1",
            r"http.py:2: SchemaDefinitionError: function x: .*def x\(ctx, request\)",
        ),
        ("schema.py", "x = 1", "schema.py: schema = livedb.define_schema.* none is there"),
        (
            "schema.py",
            "from livedb import define_schema as d\na, b = d({}), d({})",
            "schema.py: schema = .* once, and 2 of them are there",
        ),
        ("auth_config.py", "providers = 'all'", "auth_config.py: providers = .* is expected"),
    ],
)
def test_a_declaration_that_is_none_is_refused(folder, file, text, message):
    with pytest.raises(FunctionLoadError, match=message):
        folder({file: text}).load()


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files,line,cause",
    [
        ({"bad.py": "x = 1\ndef f(:\n"}, 2, "SyntaxError"),
        ({"bad.py": "x = 1\n1 / 0\n"}, 2, "ZeroDivisionError: division by zero"),
        ({"bad.py": "import sys\n\nsys.exit(3)\n"}, 3, "SystemExit: 3"),
        ({"bad.py": "import nowhere_at_all\n"}, 1, "ModuleNotFoundError: No module named"),
        ({"bad.py": "from . import gone\n"}, 1, "ImportError: cannot import name 'gone'"),
        ({"a.py": "import bad\n", "bad.py": "\n\nraise OSError\n"}, 3, "OSError"),
        (
            {"bad.py": "from livedb import query\n\n@query\nasync def f(ctx): ...\n"},
            3,
            "a query is a plain `def`",
        ),
        ({"bad.py": "x = '\x00'\n"}, None, "null bytes"),
    ],
)
def test_an_error_names_file_line_and_cause(folder, files, line, cause):
    before = set(sys.modules)
    with pytest.raises(FunctionLoadError) as caught:
        folder(files).load()
    bad = str(folder.root / "bad.py")
    assert caught.value.file == bad
    assert caught.value.line == line
    assert str(caught.value).startswith(bad if line is None else f"{bad}:{line}: ")
    assert cause in str(caught.value)
    assert "livedb_functions_" not in str(caught.value)
    assert not [name for name in set(sys.modules) - before if name.startswith("livedb_functions")]


# -- loading again ---------------------------------------------------------------------------------


def test_a_save_within_the_same_second_and_of_the_same_size_is_seen(folder):
    for answer in (1, 2, 3):
        loaded = folder({"tasks.py": QUERY.format(answer=answer)}).load()
        assert call(loaded, "tasks:answer") == answer
    assert not list(folder.root.rglob("__pycache__"))


def test_functions_of_one_load_never_meet_modules_of_another(folder):
    tasks = """
        import livedb
        import words

        @livedb.query
        def word(ctx) -> str:
            import late
            return words.WORD + late.WORD
    """
    old = folder({"tasks.py": tasks, "words.py": "WORD = 'a'", "late.py": "WORD = 'b'"}).load()
    new = folder({"words.py": "WORD = 'c'", "late.py": "WORD = 'd'"}).load()
    assert (call(old, "tasks:word"), call(new, "tasks:word")) == ("ab", "cd")


def test_only_the_newest_loads_are_kept(folder):
    loader = folder({"tasks.py": QUERY.format(answer=1)})
    for _ in range(5):
        loader.load()
    kept = {name.partition(".")[0] for name in sys.modules if name.startswith("livedb_functions")}
    assert len(kept) == LOADS_KEPT
    loader.close()
    assert not [name for name in sys.modules if name.startswith("livedb_functions")]


# -- pushed to a workspace -------------------------------------------------------------------------

SCHEMA = """
from livedb import define_schema, define_table, v
schema = define_schema({"tasks": define_table({"title": v.%s()})})
"""
TASKS = """
from livedb import mutation, query

@mutation
def add(ctx, title: str):
    return ctx.db.insert("tasks", {"title": title})

@query
def titles(ctx) -> list[str]:
    return [task["title"].%s() for task in ctx.db.query("tasks").collect()]
"""


def commits(db):
    log = db.backend.workspace.log
    return [decode_payload(commit.payload) for commit in log.read(after=0)]


def test_schema_and_functions_arrive_in_one_commit(db, folder):
    loaded = folder({"schema.py": SCHEMA % "string", "tasks.py": TASKS % "upper"}).load()
    db.backend.workspace.push_functions(loaded)
    (parts,) = commits(db)
    assert [type(part) for part in parts] == [SchemaPart, FunctionsPart]
    db.function("tasks:add")(title="one")
    assert db.function("tasks:titles")() == ["ONE"]


def test_a_save_reaches_live_queries_and_a_removed_function_is_gone(db, folder):
    loader = folder({"schema.py": SCHEMA % "string", "tasks.py": TASKS % "upper"})
    workspace = db.backend.workspace
    first = loader.load()
    workspace.push_functions(first)
    db.function("tasks:add")(title="One")
    live = db.function("tasks:titles").live()
    assert live.value == ["ONE"]

    second = folder({"tasks.py": (TASKS % "lower").replace("def add", "def insert")}).load()
    workspace.push_functions(second, before=first.names())
    assert live.value == ["one"]
    assert db.functions == ["tasks:insert", "tasks:titles"]
    with pytest.raises(FunctionNotFoundError):
        db.function("tasks:add")
    kinds = {each.name: each.kind for each in functions_of(commits(db)[-1][-1])}
    assert kinds["tasks:add"] == REMOVED

    (folder.root / "tasks.py").unlink()
    workspace.push_functions(loader.load(), before=second.names())
    assert isinstance(live.error, FunctionNotFoundError)
    workspace.push_functions(second)
    assert (live.value, live.error) == (["one"], None)


def test_pushing_the_same_again_commits_nothing(db, folder):
    loader = folder({"schema.py": SCHEMA % "string", "tasks.py": TASKS % "upper"})
    for _ in range(3):
        db.backend.workspace.push_functions(loader.load())
    assert db.number == 1


def test_functions_of_cells_stay(db, folder):
    @db.query
    def mine(ctx) -> int:
        return 1

    loaded = folder({"tasks.py": QUERY.format(answer=2)}).load()
    db.backend.workspace.push_functions(loaded, before=["tasks:gone"])
    assert db.functions == ["mine", "tasks:answer"]


def test_a_schema_that_does_not_fit_leaves_the_old_functions(db, folder):
    workspace = db.backend.workspace
    first = folder({"schema.py": SCHEMA % "string", "tasks.py": TASKS % "upper"}).load()
    workspace.push_functions(first)
    db.function("tasks:add")(title="one")
    number = db.number

    second = folder({"schema.py": SCHEMA % "boolean", "tasks.py": TASKS % "lower"}).load()
    with pytest.raises(SchemaChangeError):
        workspace.push_functions(second, before=first.names())
    assert db.function("tasks:titles")() == ["ONE"]
    assert db.number == number


def test_what_was_removed_is_read_again_at_the_next_open(tmp_path, folder):
    loader = folder({"schema.py": SCHEMA % "string", "tasks.py": TASKS % "upper"})
    with livedb.open(tmp_path / "work") as db:
        first = loader.load()
        db.backend.workspace.push_functions(first)
        (folder.root / "tasks.py").unlink()
        db.backend.workspace.push_functions(loader.load(), before=first.names())
    with livedb.open(tmp_path / "work") as db:
        assert db.tables == ["tasks"]
        assert json.dumps(db.functions) == "[]"
