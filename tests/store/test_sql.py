"""User SQL reads the workspace's tables and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from threading import Timer

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.errors import FunctionTimeoutError, LimitError, SnapshotTooOldError, SqlError
from livedb.limits import SQL_TEXT_BYTES_MAX, Limits
from livedb.store.sql import STREAM_ROWS, RowStream, near_misses
from livedb.values import Int64
from tests.store.table_fixtures import TASKS, Folder, catalog_of, new_ids, open_store, write


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """Two tables, and one beside them that the catalog of these tests does not know."""
    folder = tmp_path_factory.mktemp("shop")
    store = open_store(folder)
    shop = Folder(store, catalog_of(tasks=None, users=None, secret=None))
    one, two, three = new_ids(3)
    shop.fold(
        [
            write(one, {"title": "a", "n": 1, "tags": ["x"], "blob": b"\x00"}),
            write(two, {"title": "b", "n": 2, "tags": []}),
            write(new_ids(1, table=TASKS + 1)[0], {"name": "ann"}, table=TASKS + 1),
            write(three, {"hidden": 1}, table=TASKS + 2),
        ]
    )
    shop.catalog = catalog_of(tasks=None, users=None)
    yield shop
    store.close()


READS = [
    ("select count(*) from tasks", {"tasks"}),
    ("from TASKS", {"tasks"}),
    ("select * from main.tasks", {"tasks"}),
    ("table tasks", {"tasks"}),
    ("values (1), (2)", set()),
    ("select 1", set()),
    ("describe tasks", {"tasks"}),
    ("summarize tasks", {"tasks"}),
    ("describe select * from users", {"users"}),
    ("explain select * from tasks", {"tasks"}),
    ("EXPLAIN ANALYZE select * from tasks", {"tasks"}),
    ("with t as (from tasks) select * from t, users", {"tasks", "users"}),
    ("with users as (from tasks) select * from users", {"tasks"}),
    ("with recursive r(x) as (select 1 union all select x + 1 from r where x < 3) from r", set()),
    ("select (select max(n) from tasks) m, name from users", {"tasks", "users"}),
    ("select title from tasks where exists (from users where name = title)", {"tasks", "users"}),
    ("select x from tasks, unnest(['a', 'b']) u(x)", {"tasks"}),
    ("select * from range(3), generate_series(1, 2)", set()),
    ("select j.value from tasks, json_each(tags) j", {"tasks"}),
    ("select tags->>0 from tasks", {"tasks"}),
    ("from (select 1 a, 2 b) pivot (sum(b) for a in (1, 2))", set()),
    ("unpivot (select n from tasks) on n", {"tasks"}),
    ("from tasks union all by name from users", {"tasks", "users"}),
    ("from tasks t asof join tasks u on t.n >= u.n", {"tasks"}),
    ("from tasks using sample 1 rows", {"tasks"}),
    ("select *, row_number() over (order by n) from tasks qualify n > 1", {"tasks"}),
    ("select n from tasks -- a comment", {"tasks"}),
    ("select n from tasks;", {"tasks"}),
]


@pytest.mark.parametrize("text,tables", READS)
def test_a_read_runs_and_its_tables_are_known(shop: Folder, text: str, tables: set[str]) -> None:
    rows, read = shop.store.run_sql(text, None, catalog=shop.catalog)
    assert read == tables
    assert isinstance(rows, pa.Table)
    assert shop.store.tables_read(text, shop.catalog) == tables


REFUSED = [
    # Files and the network: reliability.md 2.4 no. 36.
    "from read_csv('/etc/passwd')",
    "from '/etc/passwd'",
    "select * from glob('/*')",
    "copy tasks to '/tmp/x.csv'",
    "attach '/tmp/x.db'",
    "attach ':memory:' as m",
    "install httpfs",
    "load httpfs",
    "from read_parquet('loads/x.parquet')",
    "from read_text('/proc/self/environ')",
    "from sniff_csv('/etc/passwd')",
    "export database '/tmp/x'",
    # More than one statement: 37.
    "select 1; drop table tasks",
    "select 1; select 2",
    # Writes, plain and inside a query: 38, 39.
    "insert into tasks values (1)",
    "delete from tasks",
    "drop view tasks",
    "create table x (a int)",
    "create macro m() as 1",
    "create temp table x as select 1",
    "with x as (delete from data.tasks returning *) select * from x",
    "with x as (insert into data.tasks (_id) values ('x') returning *) from x",
    "with x as (update data.tasks set n = 1 returning *) from x",
    "explain analyze insert into data.tasks (_id) values ('x')",
    "explain analyze delete from data.tasks",
    "explain (format json) select 1",
    "checkpoint",
    "begin",
    "vacuum",
    "call range(3)",
    "prepare p as select 1",
    "execute p",
    "use data",
    "select nextval('s')",
    "select write_log('x')",
    # Other tables, named or hidden: 40.
    "from data.tasks",
    "from data.secret",
    "from secret",
    "from main.secret",
    "from meta.state",
    "from meta.history",
    "from tables.main.tasks",
    "from tables.data.secret",
    "from system.main.duckdb_tables",
    "from temp.main.x",
    "from query('from secret')",
    "from query_table('secret')",
    "from query_table(['tasks'])",
    "select * from json_execute_serialized_sql(json_serialize_sql('from secret'))",
    "with tasks2 as (from secret) from tasks2",
    "with secret as (from secret) from secret",
    "with a as (from secret), secret as (select 1) from a",
    "select * from (with secret as (select 1 x) from secret), secret",
    "select (from secret)",
    "select 1 where exists (from secret)",
    "select 1 where 2 in (select hidden from secret)",
    "select array(select hidden from secret)",
    "describe secret",
    "summarize secret",
    "explain select * from secret",
    "from tasks, lateral (from secret)",
    "pivot secret on hidden in (1) using count(*)",
    "select 1 union all select hidden from secret",
    "select n from tasks order by (select max(hidden) from secret)",
    "select n from tasks limit (select hidden from secret)",
    "select sum(n) filter (where n in (select hidden from secret)) from tasks",
    "select sum(n) over (order by (select max(hidden) from secret)) from tasks",
    "with recursive r as (select 1 x union all select hidden from secret, r) from r",
    "from tasks at (version => 1)",
    # DuckDB's own catalog: 41.
    "from duckdb_databases()",
    "from duckdb_settings()",
    "from duckdb_views()",
    "from duckdb_tables",
    "from duckdb_columns",
    "from sqlite_master",
    "from pg_catalog.pg_class",
    "from pragma_storage_info('tasks')",
    "from pragma_table_info('tasks')",
    "from information_schema.tables",
    "from INFORMATION_SCHEMA.columns",
    "show tables",
    "show all tables",
    "show databases",
    "with duckdb_tables as (from duckdb_tables) from duckdb_tables",
    "select pg_get_viewdef(1)",
    "select current_setting('memory_limit')",
    "select getvariable('x')",
    "select main.pg_get_viewdef(1)",
    "from test_all_types()",
    "from histogram(tasks, n)",
    "from seq_scan('secret')",
    # Settings: 42.
    "set lock_configuration = false",
    "reset memory_limit",
    "pragma version",
    "pragma enable_profiling",
    "set variable x = 1",
    # Python's variables: 46.
    "from secret_frame",
    "from pandas_scan(1)",
    # Nothing at all.
    "",
    "-- only a comment",
]


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused_before_it_runs(shop: Folder, text: str) -> None:
    secret_frame = pa.table({"a": [1]})
    with pytest.raises(SqlError) as caught:
        shop.store.run_sql(text, None, catalog=shop.catalog)
    assert caught.value.code == "SqlRefused", caught.value
    assert secret_frame.num_rows == 1


@pytest.mark.parametrize("text", REFUSED)
def test_parameters_open_no_way_around_the_gate(shop: Folder, text: str) -> None:
    with pytest.raises(SqlError):
        shop.store.run_sql(f"{text} where $p = 1", {"p": 1}, catalog=shop.catalog)
    with pytest.raises(SqlError):
        shop.store.run_sql(f"select $p::int p, * from ({text})", {"p": 1}, catalog=shop.catalog)


@pytest.mark.parametrize(
    "text",
    [
        "select nope from tasks",
        "select * from tasks where",
        "selec 1",
        "select 1 / 'x'",
        "select sum(title) from tasks",
        "select $x",
        "select ?",
        "\x00",
        "select '\ud800'",
        "(" * 5_000 + "1" + ")" * 5_000,
        "select " + "(" * 5_000 + "1" + ")" * 5_000,
        "select " + "-" * 3_001 + "1",
        "select " + " + ".join(["1"] * 20_000),
        " union all ".join(["select 1"] * 3_000),
        "select '" + "x" * SQL_TEXT_BYTES_MAX + "'",
    ],
)
def test_wrong_sql_is_a_typed_error(shop: Folder, text: str) -> None:
    with pytest.raises(SqlError) as caught:
        shop.store.run_sql(text, None, catalog=shop.catalog)
    assert caught.value.message
    assert shop.rows("select 1 as a") == [{"a": 1}]


HUGE = [
    "repeat('x', {n})",
    "repeat(repeat('x', 1000000), {n})",
    "repeat(title, {n})",
    "main.REPEAT([1], {n})",
    "'x'.rpad(({n})::int, 'y')",
    "lpad('x', ({n})::int, 'y')",
    "bitstring('1', ({n})::int)",
    "list_resize([1], {n})",
    "array_resize([1], {n}, 7)",
    "range({n})",
    "range(0, {n})",
    "range({n}, 0, -2)",
    "range(timestamp '2026-01-01', timestamp '2426-01-01', interval 1 second)",
    "generate_series(-{n}, {n}, 2)",
    "length(repeat('x', {n})) + 1",
    "levenshtein({long}, {long})",
    "jaro_similarity({long}, {long})",
    "jaro_winkler_similarity({long}, {long}, 0.5)",
    "list_resize([title], 1000, repeat(title, 10000))",
]
"""With a number in the place of `{n}`: calls that make of little a value of any size."""


@pytest.mark.parametrize("n", ["300000000", "'300000000'::int", "n", "(n + random() * 1e6)::int"])
@pytest.mark.parametrize("call", HUGE)
def test_a_call_that_builds_a_huge_value_is_refused_by_name(
    shop: Folder, call: str, n: str
) -> None:
    name = next(each for each in re.findall(r"[a-z_]+(?=\()", call.lower()) if each != "length")
    rows = "range(300000000, 300000001) r(n), (select 'long' as title)"
    call = call.format(n=n, long="'" + "x" * 5000 + "'")
    for text in (f"select {call} from {rows}", f"select n from {rows} where ({call}) is null"):
        with pytest.raises(SqlError, match=f"{name!r} is asked for") as caught:
            shop.store.run_sql(text, None, catalog=shop.catalog)
        assert caught.value.code == "SqlRefused"


@pytest.mark.parametrize(
    "call,words",
    [
        ("printf('%d %300000000d', 1, 1)", "'printf' is asked for"),
        ("format('{:>300000000}', 1)", "'format' is asked for"),
        ("printf('%*d', 300000000, 1)", "widths in the format of function 'printf'"),
        ("format('{:>{}}', 1, 300000000)", "widths in the format of function 'format'"),
        ("printf('%' || n || 'd', 1)", "must be a text"),
        ("system.repeat('x', 3)", "'repeat' without a schema"),
        ("system.main.repeat('x', 3)", "'repeat' without a schema"),
    ],
)
def test_a_call_that_could_go_round_its_bound_is_refused(
    shop: Folder, call: str, words: str
) -> None:
    with pytest.raises(SqlError, match=words) as caught:
        shop.store.run_sql(f"select {call} from tasks", None, catalog=shop.catalog)
    assert caught.value.code == "SqlRefused"


@pytest.mark.parametrize(
    "text,value",
    [
        ("select count(*) from range(300000000)", 300_000_000),
        ("select repeat('ab', 2) || lpad('x', 3, 'y') || rpad('x', 3, 'z')", "ababyyxxzz"),
        ("select repeat([1, 2], 2)", [1, 2, 1, 2]),
        ("select repeat('ab'::blob, 2)", b"abab"),
        ("select repeat(null, 2)", None),
        ("select repeat('x', null)", None),
        ("select repeat('x', -3)", ""),
        ("select printf('%05d %.2f %s', 1, 2.5, '300000000')", "00001 2.50 300000000"),
        ("select format('{} {:>3} {{}}', 1, 2)", "1   2 {}"),
        ("select range(3)", [0, 1, 2]),
        ("select range(1700000000, 1700000003)", [1700000000, 1700000001, 1700000002]),
        ("select range(0, 3000000000, 1000000000)", [0, 1000000000, 2000000000]),
        ("select generate_series(3, 1, -1)", [3, 2, 1]),
        ("select range(0, 3, 0)", []),
        ("select range(1, null)", None),
        ("select len(range(date '2026-01-01', date '2027-01-01', interval 1 month))", 12),
        ("select len(range(timestamptz '2026-01-01', '2026-01-03', interval 1 hour))", 48),
        ("select len(range(100000))", 100_000),
        ("select list_resize([1], 3)", [1, None, None]),
        ("select array_resize([1], 2, 7)", [1, 7]),
        ("select bitstring('01', 4)::varchar", "0001"),
        ("select list_transform(range(2), lambda x: repeat('x', x))", ["", "x"]),
        ("select levenshtein('ab', 'ac') + editdist3('ab', 'ac')", 2),
        ("select jaro_similarity('ab', 'ab') + jaro_winkler_similarity('ab', 'ab', 0.1)", 2),
        ("select len(generate_series(timestamp '2026-01-01', timestamp '2026-01-03', '1 day'))", 3),
        ("select s.upper().lpad(5, '.') from (select 'ab' as s)", "...AB"),
        ("select t.s.upper() from (select 'ab' as s) t", "AB"),
        ("select l || 'x' from (select lpad('7', 3, '0') as l) where l = '007'", "007x"),
        ("select lpad('7', 3, '0') as l from range(1) where l = '007'", "007"),
        ("select count(*) over (partition by lpad(s, 3, '0')) from (select 'ab' as s)", 1),
        ("select sum(1) over (order by rpad(s, 3, '0')) from (select 'ab' as s)", 1),
        ("select len(r) from (select range(n) as r from range(3, 4) t(n))", 3),
        ("select repeat from repeat('300000000', 1) t(repeat)", "300000000"),
        ("select sum(n) over (order by n range 1 preceding) from (select 1 as n)", 1),
        ("select length(repeat(title, n)) from (select 'ab' as title, 500 as n)", 1000),
        ("select max(x) from range(3) t(n), range(t.n) u(x)", 1),
    ],
)  # fmt: skip
def test_a_call_with_a_bound_gives_what_that_of_duckdb_gives(
    shop: Folder, text: str, value: object
) -> None:
    [row] = shop.rows(text)
    assert list(row.values()) == [value]
    [[plain]] = duckdb.sql(text).fetchall()
    assert plain == value


@given(st.text(max_size=30) | st.lists(
    st.sampled_from(
        ["select", "from", "secret", "with", "as", "(", ")", ",", "tasks", "*", "1", "union",
         "recursive", "r", "in", "exists", "where", "pivot", "describe", "lateral", "join", "x"]
    ), max_size=14).map(" ".join))  # fmt: skip
def test_no_text_reads_a_table_outside_the_catalog(shop: Folder, text: str) -> None:
    try:
        rows, read = shop.store.run_sql(text, None, catalog=shop.catalog)
    except SqlError:
        return
    assert read <= {"tasks", "users"}
    assert "hidden" not in rows.column_names


@pytest.mark.parametrize(
    "text,words",
    [
        ("select " + "not " * 2000 + "true", "Max expression depth limit of 1000 exceeded"),
        ("select list_transform([1], x -> x + 1)", "lambda x, i: x + i"),
        ("select list(range order by -range) from range(30000000)", "sql_memory_bytes_max"),
    ],
)
def test_nobody_is_told_to_change_a_setting(tmp_path: Path, text: str, words: str) -> None:
    store = open_store(tmp_path, limits=Limits(sql_memory_bytes_max=50 << 20))
    with pytest.raises((SqlError, LimitError), match=re.escape(words)) as caught:
        store.run_sql(text, None, catalog=catalog_of(TASKS))
    assert "SET " not in caught.value.message
    store.close()


def test_a_misspelt_table_gets_its_near_misses(shop: Folder) -> None:
    with pytest.raises(SqlError, match=r"'task'; did you mean 'tasks'\?"):
        shop.rows("from task")
    assert near_misses("x", []) == "the workspace has no tables yet"
    assert "'users'" in near_misses("zzz", ["tasks", "users"])


def test_a_table_of_livedbs_own_says_who_reads_it(shop: Folder) -> None:
    with pytest.raises(SqlError, match=r'ctx\.db\.system\.query\("_storage"\)'):
        shop.rows("from _storage")


# Parameters.


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -(2**62), 2**53 + 1, 0.5, "x'; drop table tasks; --", "\x00", b"\x00\xff",
        datetime(2026, 1, 2, tzinfo=UTC), [1, 2], ["a"], {"a": 1},
    ],
)  # fmt: skip
def test_a_parameter_is_data_by_name_and_by_place(shop: Folder, value: object) -> None:
    assert shop.rows("select $x as x", {"x": value}) == [{"x": value}]
    assert shop.rows("select ? as x", [value]) == [{"x": value}]


def test_livedb_values_are_parameters(shop: Folder) -> None:
    assert shop.rows("select $x as x, typeof($x) as t", {"x": Int64(5)}) == [
        {"x": 5, "t": "INTEGER"}
    ]
    east = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert shop.rows("select $x as x", {"x": east}) == [{"x": datetime(2026, 1, 2, 1, tzinfo=UTC)}]
    assert shop.rows("select title from tasks where n in (select unnest($x))", {"x": [2, 3]}) == [
        {"title": "b"}
    ]


@pytest.mark.parametrize(
    "parameters",
    [
        {"x": object()}, {"x": {1, 2}}, {"x": 2**200}, {"x": datetime(2026, 1, 1)},
        {"y": 1}, {"x": 1, "y": 2}, {1: 2}, [1], "text", 5, {"x": "\ud800"}, {},
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_a_typed_error(shop: Folder, parameters: object) -> None:
    with pytest.raises(SqlError):
        shop.rows("select $x as x", parameters)


# Results.


def test_a_sum_of_integers_is_an_integer_and_a_huge_one_a_decimal(shop: Folder) -> None:
    table, _ = shop.store.run_sql(
        "select sum(n) s, sum(9223372036854775807 + 0 * n) big, sum(n) filter (false) none "
        "from tasks", None, catalog=shop.catalog,
    )  # fmt: skip
    assert table.schema.types == [pa.int64(), pa.decimal128(38, 0), pa.int64()]
    assert table.to_pylist() == [{"s": 3, "big": Decimal(2 * (2**63 - 1)), "none": None}]


def test_times_are_utc(shop: Folder) -> None:
    table, _ = shop.store.run_sql("select now() as t", None, catalog=shop.catalog)
    assert table.schema.field("t").type == pa.timestamp("us", tz="UTC")


ENDLESS = "select count(*) from range(100000000000) a, range(1000) b where a.range % 7 = b.range"


def test_an_interrupted_read_is_a_timeout_and_the_next_one_works(shop: Folder) -> None:
    timer = Timer(0.3, shop.store.interrupt)
    timer.start()
    with pytest.raises(FunctionTimeoutError):
        shop.rows(ENDLESS)
    timer.join()
    assert shop.rows("select 1 as a") == [{"a": 1}]


def test_a_stream_is_read_a_batch_at_a_time_and_ends_with_an_interrupt(shop: Folder) -> None:
    taken = []

    def take(rows: RowStream) -> None:
        for batch in rows.batches:
            taken.append(batch.num_rows)
            if len(taken) == 3:
                snapshot.interrupt()

    with shop.store.snapshot() as snapshot:
        with pytest.raises(FunctionTimeoutError):
            snapshot.stream_sql("from range(100000000)", take, catalog=shop.catalog)
        assert taken == [STREAM_ROWS] * 3
        assert snapshot.run_sql("select 1 as a", catalog=shop.catalog)[0].to_pylist() == [{"a": 1}]


def test_a_read_ends_at_the_time_limit(tmp_path: Path) -> None:
    store = open_store(tmp_path, limits=Limits(sql_s_max=0.3))
    with pytest.raises(FunctionTimeoutError):
        Folder(store, catalog_of()).rows(ENDLESS)
    store.close()


def test_a_read_beyond_the_memory_limit_fails_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path, in_memory=True, limits=Limits(sql_memory_bytes_max=100 << 20))
    folder = Folder(store, catalog_of())
    with pytest.raises(LimitError) as caught:
        folder.rows("select list(x::varchar || 'padding') from range(20000000) t(x)")
    assert caught.value.code == "SqlMemory"
    assert folder.rows("select 1 as a") == [{"a": 1}]
    store.close()


@pytest.mark.parametrize(
    "text",
    [
        "with recursive r as (select 1 x union all select x + 1 from r) select max(x) from r",
        "select count(*) from range(10000000) a, range(100000000) b",
        "select list(range) from range(100000000)",
        "select string_agg(range::varchar, '') from range(100000000)",
    ],
)
def test_a_read_without_end_is_bounded_by_time_or_memory(tmp_path: Path, text: str) -> None:
    limits = Limits(sql_memory_bytes_max=100 << 20, sql_s_max=0.5)
    store = open_store(tmp_path, in_memory=True, limits=limits)
    folder = Folder(store, catalog_of())
    with pytest.raises((LimitError, FunctionTimeoutError)):
        folder.rows(text)
    assert folder.rows("select 1 as a") == [{"a": 1}]
    store.close()


# Several reads at one number.


def test_a_statement_that_fails_leaves_its_snapshot_usable(shop: Folder) -> None:
    with shop.store.snapshot() as snapshot:
        for wrong in ("select nope from tasks", "select 1 / 'x'", "from nope", "select error('x')"):
            with pytest.raises(SqlError):
                snapshot.run_sql(wrong, catalog=shop.catalog)
            assert snapshot.count(TASKS) == 2


def test_a_snapshot_that_lost_its_number_to_a_failure_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    folder = Folder(store, catalog_of(tasks=None))
    folder.fold([])
    with store.snapshot() as snapshot:
        with pytest.raises(SqlError):
            snapshot.query("select error('x')")
        folder.fold([write(new_ids(1)[0], {"n": 1})])
        with pytest.raises(SnapshotTooOldError):
            snapshot.count(TASKS)
        with pytest.raises(SnapshotTooOldError):
            snapshot.count(TASKS)
    store.close()
