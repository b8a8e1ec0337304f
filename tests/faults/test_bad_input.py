"""Bad input through `db`: exact, or a typed error that says where; nothing else changes.

The numbers are those of the list of hostile inputs in the research on reliability.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import livedb
from livedb.errors import (
    DamagedError,
    FormatError,
    FunctionTimeoutError,
    LimitError,
    LivedbError,
    LogError,
)
from livedb.limits import Limits
from livedb.text import encode_fields
from tests.faults.checks import check_agreement, tables_of, workspace_of

V = livedb.v


@pytest.fixture
def db(tmp_path):
    with livedb.open(tmp_path / "w", limits=Limits(sql_s_max=1, function_s_max=2.0)) as opened:
        strict = {"a": V.integer(), "user": V.optional(V.id("users"))}
        opened.push(
            livedb.define_schema(
                {
                    "strict": livedb.define_table(strict),
                    "users": livedb.define_table({"name": V.string()}),
                }
            )
        )
        yield opened
        if not workspace_of(opened).is_closed:
            check_agreement(opened)


# Values: 24.

EXACT = [
    None, True, 0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 2**53,
    -(2**53), livedb.Int64(2**63 - 1), livedb.Int64(-(2**63)), "", "\x00", "\ufffe\U0010ffff",
    "'; drop table strict; --", "{{}}${x}", "1e400", "=cmd()", b"", b"\x00\xff", [], {}, [[[]]],
    {"": {"": None}}, {"constructor": 1, "toString": 2, "a.b": 3, 'q"': 4, "get": 5, "items": 6},
]  # fmt: skip


def test_every_odd_value_comes_back_exactly_everywhere(db, tmp_path):
    ids = db["odd"].insert([{"at": at, "x": value} for at, value in enumerate(EXACT)])
    wanted = [bytes(encode_fields({"at": at, "x": value})) for at, value in enumerate(EXACT)]

    def texts(opened):
        found = [tables_of(opened)["odd"][each][1] for each in ids]
        read = [opened["odd"].get(each) for each in ids]
        assert [bytes(encode_fields(_user_fields(each))) for each in read] == found
        return found

    assert texts(db) == wanted
    db.close()
    with livedb.open(tmp_path / "w") as again:
        assert texts(again) == wanted


def _user_fields(document):
    return {name: each for name, each in document.items() if not name.startswith("_")}


NESTED = 1
for _ in range(17):
    NESTED = [NESTED]

REFUSED = {
    "an int beyond 2^53": {"x": 2**53 + 1},
    "an int of 400 digits": {"x": 10**400},
    "a lone surrogate": {"x": "\ud800"},
    "a reserved name": {"$x": 1},
    "a system name": {"__proto__": 1},
    "a name with NUL": {"\x00": 1},
    "a name of 2,000 characters": {"x" * 2_000: 1},
    "an object of Python": {"x": object()},
    "a set": {"x": {1}},
    # Sizes: 25.
    "more than a mebibyte": {"x": "x" * (1 << 20)},
    "1,025 fields": {f"f{at}": at for at in range(1_025)},
    "8,193 items": {"x": [0] * 8_193},
    "17 levels": {"x": NESTED},
    # System fields: 29.
    "an id of one's own": {"_id": "x", "a": 1},
    "a creation time of one's own": {"_creationTime": 1.0, "a": 1},
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_document_that_cannot_be_kept_is_refused_and_nothing_is_written(db, what):
    number = db.number
    with pytest.raises(LivedbError) as caught:
        db["odd"].insert(REFUSED[what])
    assert caught.value.code.startswith(("Invalid", "Value", "Too", "Array", "Unsupported"))
    with pytest.raises(LivedbError):
        db["odd"].insert([{"x": 1}, REFUSED[what]])
    with pytest.raises(LivedbError):
        db.load("odd", [{"x": 1}, REFUSED[what]])
    assert "odd" not in db or db["odd"].count() == 0
    assert db.number <= number + 1


def test_a_name_that_is_no_text_is_refused(db):
    with pytest.raises(LivedbError):
        db["odd"].insert({"\ud800": 1})


def test_a_load_refuses_a_name_that_is_no_text(db):
    with pytest.raises(LivedbError, match="ud800"):
        db.load("odd", [{"\ud800": 1}])


@pytest.mark.parametrize("name", ["_x", "_tables", "a/b", "..", "a\x00", "é", "", "x" * 65, "1a"])
def test_a_table_of_no_legal_name_is_refused(db, name):
    number = db.number
    with pytest.raises(LivedbError) as caught:
        db[name].insert({"x": 1})
    assert caught.value.code == "InvalidTableName"
    assert db.number == number


# Schemas and ids: 26, 27.


def test_what_does_not_fit_the_schema_is_refused_with_its_path(db):
    strict, user = db["strict"], db["users"].insert({"name": "ann"})
    fine = strict.insert({"a": 1, "user": user})
    forged = user[:-1] + ("0" if user[-1] != "0" else "1")
    number = db.number
    for wrong, words in [
        ({"a": 1, "b": 2}, "extra field `b`"),
        ({}, "missing the required field `a`"),
        ({"a": "1"}, "Path: .a"),
        ({"a": 1, "user": fine}, "Path: .user"),
        ({"a": 1, "user": forged}, "Path: .user"),
    ]:
        with pytest.raises(LivedbError, match=words) as caught:
            strict.insert(wrong)
        assert caught.value.code == "SchemaEnforcementError"
    with pytest.raises(LivedbError) as caught:
        strict.get(forged)
    assert caught.value.code == "InvalidIdError"
    db["users"].delete(user)
    for act in (lambda: db["users"].patch(user, {"name": "x"}), lambda: db["users"].delete(user)):
        with pytest.raises(LivedbError) as caught:
            act()
        assert caught.value.code == "NonexistentDocument"
    assert db["users"].get(user) is None
    assert db.number == number + 1


# Runaway functions: 31, 32.


def test_a_mutation_that_never_ends_is_stopped_while_others_go_on(db):
    @db.mutation
    def runaway(ctx):
        ctx.db.insert("odd", {"x": 1})
        while True:
            pass

    @db.mutation
    def add(ctx, n: int) -> None:
        ctx.db.insert("odd", {"x": n})

    add(n=-1)
    with Beside(lambda: [add(n=n) for n in range(20)]), pytest.raises(FunctionTimeoutError):
        runaway()
    assert sorted(each["x"] for each in db["odd"].collect()) == [-1, *range(20)]


def test_a_mutation_that_sleeps_keeps_nobody_waiting_and_is_undone_when_it_wakes(db):
    @db.mutation
    def sleeper(ctx):
        ctx.db.insert("odd", {"x": 1})
        time.sleep(2.5)  # blocked in C: it can be stopped only when that ends

    db["odd"].insert({"x": 0})
    done = []
    with Beside(lambda: done.extend(db["odd"].insert({"x": 2}) for _ in range(5))) as others:
        with pytest.raises(FunctionTimeoutError):
            sleeper()
        others.join(0)
        assert not others.is_alive(), "the others waited for it"
    assert [each["x"] for each in db["odd"].collect()] == [0] + [2] * 5


def test_a_mutation_that_runs_out_of_memory_is_undone(zygote, tmp_path):
    child = zygote.start("out_of_memory", tmp_path / "w")
    assert child.wait() == 0, child.lines()
    assert child.lines()[-1] == "FINE"


def test_reading_a_million_documents_is_refused_naming_the_table(tmp_path):
    with livedb.open(tmp_path / "w") as opened:
        opened.load("huge", pa.table({"x": range(1_000_000)}))

        @opened.query
        def all_of(ctx) -> int:
            return sum(each["x"] for each in ctx.db.query("huge"))

        @opened.mutation
        def add_up(ctx) -> None:
            ctx.db.insert("sums", {"x": sum(each["x"] for each in ctx.db.query("huge"))})

        for function in (all_of, add_up):
            with pytest.raises(LimitError, match="'huge'") as caught:
                function()
            assert caught.value.code == "TooManyDocumentsRead"
        total = opened.sql("select sum(x) as x from huge").to_arrow().to_pylist()
        assert total == [{"x": sum(range(1_000_000))}]


# SQL: 43, 45.


def test_hostile_text_is_data_in_parameters_and_quoted_in_names(db):
    for text in ("x'; drop table strict; --", '"; attach', "\\", "%_", "\u2160\u202e", "\x00"):
        db["odd"].insert({"x": text, 'q"; drop': 1})
        found = db.sql("select count(*) as c from odd where x = $x", {"x": text}).to_arrow()
        assert found.to_pylist() == [{"c": 1}]
    assert 'q"; drop' in db["odd"].to_arrow().column_names


@pytest.mark.parametrize(
    "call", ["repeat('x', n::bigint)", "lpad('x', $n, 'y')", "range(n::bigint)"]
)
def test_a_huge_value_is_refused_wherever_its_size_comes_from(db, call):
    """The other functions: tests/store/test_sql.py."""
    db["t"].insert({"n": 2_000_000_000})
    parameters = {"n": 2_000_000_000} if "$n" in call else None
    with pytest.raises(livedb.SqlError, match=r"asked for one value of more than"):
        db.sql(f"select length({call}) from t", parameters)
    assert db.sql("select count(*) as n from t").to_arrow()["n"].to_pylist() == [1]


ENDLESS = {
    "a recursion": "with recursive r(x) as (select 1 union all select x + 1 from r) from r",
    "a cross join of 1e15": "select count(*) from range(1000000000) a, range(1000000) b "
    "where a.range + b.range = -1",
    "a list of 1e9": "select list(range) as x from range(1000000000)",
}


@pytest.mark.parametrize("what", ENDLESS)
def test_sql_without_end_or_measure_ends_at_its_limit_and_others_go_on(zygote, tmp_path, what):
    child = zygote.start("endless_sql", tmp_path / "w", ENDLESS[what])
    assert child.wait() == 0, child.lines()
    assert child.lines()[-1] == "FINE"


# Files: 52, 53.


def _tables():
    yield pa.table({"a": range(3_000), "s": ["x" * (n % 7) for n in range(3_000)]})
    yield pa.table({"a": [1.5, None], "l": [[1], []], "d": [{"b": b"\x00"}, None]})


@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_parquet_file_is_refused_whole(db, tmp_path, seed):
    damage_parquet(db, tmp_path, seed, rounds=40)


@pytest.mark.oracle
@pytest.mark.timeout(1800)
def test_many_damaged_parquet_files_are_refused_whole(zygote, tmp_path):
    """In a child: a reader that crashes on one of them is the finding."""
    for seed in range(5):
        child = zygote.start("damaged_parquet", tmp_path / f"w{seed}", seed, 100)
        assert child.wait() == 0, child.lines()


def damage_parquet(db, folder, seed, *, rounds):
    """Flip, cut and overwrite: a load is refused, or loads as many rows as the file says."""
    rng = random.Random(seed)
    sources = []
    for at, table in enumerate(_tables()):
        pq.write_table(table, folder / f"{at}.parquet")
        sources.append((folder / f"{at}.parquet").read_bytes())
    successes = 0
    for _ in range(rounds):
        content = bytearray(rng.choice(sources))
        for _ in range(rng.choice((1, 1, 8))):
            at = rng.choice((rng.randrange(len(content)), -rng.randrange(1, 400)))
            content[at] ^= 1 << rng.randrange(8)
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        (folder / "bad.parquet").write_bytes(content)
        before = db["rows"].count() if "rows" in db else 0
        try:
            loaded = db.load("rows", folder / "bad.parquet").rows
            successes += 1  # also of a file that says it has no rows
        except (LivedbError, ValueError, OSError):
            loaded = 0
        after = db["rows"].count() if "rows" in db else 0
        assert after - before == loaded
    kept = list(workspace_of(db).files.loads.iterdir())
    assert len(kept) <= successes, "a refused load left its file"


@pytest.mark.parametrize("kind", ["dicts", "parquet", "csv", "jsonl", "arrow"])
def test_one_misfit_in_the_last_row_refuses_the_whole_file(db, tmp_path, kind):
    rows = [{"a": n} for n in range(2_000)]
    text = [{"a": str(each["a"])} for each in rows] + [{"a": "last"}]
    path = tmp_path / f"rows.{kind}"
    source = path
    if kind == "dicts":
        source = [*rows, {"a": "last"}]
    elif kind == "arrow":
        source = pa.table({"a": pa.array([*range(2_000), 1 << 60])})
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(text), path)
    elif kind == "csv":
        path.write_text("a\n" + "\n".join(each["a"] for each in text))
    else:
        path.write_text("".join(f'{{"a": {n}}}\n' for n in [*range(2_000), '"last"']))
    number = db.number
    with pytest.raises(LivedbError):
        db.load("strict", source)
    assert db["strict"].count() == 0
    assert db.number == number
    assert not list(workspace_of(db).files.loads.iterdir())


# The folder's own files: 54.


def _another_database(path):
    path.unlink()
    with duckdb.connect(path) as connection:
        connection.execute("create table t as select 1 as a")


def _replaced_by(kind):
    def replace(path):
        path.unlink()
        kind(path)

    return replace


STRANGE = {
    "a pipe": _replaced_by(os.mkfifo),
    "a device": _replaced_by(lambda path: path.symlink_to("/dev/zero")),
    "a folder": _replaced_by(lambda path: path.mkdir()),
    "another database": _another_database,
    "a link to nowhere": _replaced_by(lambda path: path.symlink_to(path.parent / "nowhere" / "x")),
}


@pytest.mark.parametrize("name", ["log", "log.head", "tables.duckdb", "workspace.json", "lock"])
@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_file_inside_a_workspace_is_refused_and_never_hangs(tmp_path, what, name):
    with livedb.open(tmp_path / "w") as opened:
        opened["items"].insert({"n": 1})
    STRANGE[what](tmp_path / "w" / name)
    if name == "lock" and what == "another database":  # the content of a lock means nothing
        livedb.open(tmp_path / "w").close()
    else:
        with pytest.raises((FormatError, DamagedError, LogError)):
            livedb.open(tmp_path / "w")


class Beside:
    """Do something on another thread for the length of a block."""

    def __init__(self, action):
        self.errors = []

        def run():
            try:
                action()
            except BaseException as error:  # noqa: BLE001  # raised again at the end
                self.errors.append(error)

        self.thread = threading.Thread(target=run)

    def __enter__(self):
        self.thread.start()
        return self.thread

    def __exit__(self, *_):
        self.thread.join(30)
        assert not self.thread.is_alive(), "it hangs"
        if self.errors:
            raise self.errors[0]


@pytest.mark.parametrize(
    "path, why",
    [("", "in memory"), ("~nobody-here/w", "home of nobody"), ("x" * 300, "a longer name than")],
)
def test_a_path_that_leads_nowhere_is_refused(path, why):
    with pytest.raises(FormatError, match=why):
        livedb.open(path)
