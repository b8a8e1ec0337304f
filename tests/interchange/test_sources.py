"""Each kind of source, and each rule of what is refused until it is said."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from livedb.clock import ManualClock
from livedb.errors import LivedbError, LoadError
from livedb.ids import IdFactory
from livedb.interchange.exports import export
from livedb.interchange.sources import open_source
from livedb.schema.tables import TableDefinition
from livedb.store.loads import stage_load
from livedb.store.marks import has_mark
from livedb.values import Int64

TABLE = pa.table({"a": [1, 2], "b": ["x", None]})


def rows(source: object, **options: Any) -> list[dict[str, Any]]:
    return open_source(source, **options).reader().read_all().to_pylist()


def frame(name: str, values: Any, dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype=dtype)})


class Arrowish:
    """Something that offers only the Arrow stream protocol."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "source",
    [
        TABLE,
        TABLE.to_batches()[0],
        TABLE.to_reader(),
        ds.dataset(TABLE),
        TABLE.to_pandas(),
        pl.from_arrow(TABLE),
        pl.from_arrow(TABLE).lazy(),
        Arrowish(),
        [{"a": 1, "b": "x"}, {"a": 2, "b": None}],
        (row for row in TABLE.to_pylist()),
    ],
    ids=lambda source: type(source).__name__,
)
def test_every_kind_of_source_gives_the_rows(source: object) -> None:
    assert rows(source) == TABLE.to_pylist()


def test_files_and_patterns(tmp_path: Path) -> None:
    for ending in ("parquet", "csv", "jsonl"):
        path = tmp_path / f"one.{ending}"
        export(TABLE, path)
        assert rows(path) == TABLE.to_pylist()
        assert rows(str(path)) == TABLE.to_pylist()
        assert rows([path, path]) == TABLE.to_pylist() * 2
        export(TABLE, tmp_path / f"two.{ending}")
        assert rows(tmp_path / f"*.{ending}") == TABLE.to_pylist() * 2
        path.rename(tmp_path / "nameless")
        assert rows(tmp_path / "nameless", format=ending) == TABLE.to_pylist()
    with pytest.raises(LoadError, match="no file"):
        rows(tmp_path / "missing.csv")
    with pytest.raises(LoadError, match="what kind of file"):
        rows(tmp_path / "nameless")
    with pytest.raises(LoadError, match="several kinds"):
        rows([tmp_path / "two.csv", tmp_path / "two.jsonl"])


@pytest.mark.parametrize("source", [3, {"a": 1}, None, [1, 2], [["a"]]])
def test_what_holds_no_rows_is_refused(source: object) -> None:
    with pytest.raises(LoadError):
        open_source(source)


def test_nan_is_null_in_numpy_columns_and_itself_elsewhere() -> None:
    values = [1.0, float("nan")]
    assert rows(frame("a", values))[1]["a"] is None
    assert np.isnan(rows(frame("a", values), nan="keep")[1]["a"])
    nullable = pd.arrays.FloatingArray(np.array([np.nan, 0]), np.array([False, True]))
    kept = rows(frame("a", nullable))
    assert np.isnan(kept[0]["a"])
    assert kept[1]["a"] is None
    arrow = pa.table({"a": values})
    assert np.isnan(rows(arrow)[1]["a"])
    assert rows(arrow, nan="null")[1]["a"] is None
    with pytest.raises(LoadError, match="nan is"):
        open_source(arrow, nan="drop")  # type: ignore[arg-type]


def test_naive_datetimes_are_refused_without_a_zone() -> None:
    moment = datetime(2026, 7, 1, 12)
    arrow = pa.table({"t": pa.array([moment], pa.timestamp("us"))})
    for source in (frame("t", [moment]), arrow, pl.from_arrow(arrow)):
        with pytest.raises(LoadError, match=r"'t'.*time zone"):
            open_source(source)
        opened = open_source(source, tz="America/New_York").reader().read_all()
        assert opened["t"].cast(pa.timestamp("us", "UTC")).to_pylist() == [
            datetime(2026, 7, 1, 16, tzinfo=UTC)
        ]
    with pytest.raises(LoadError, match=r"time zone.*\(at|time zone"):
        open_source([{"t": moment}])


def test_a_time_that_the_zone_has_twice_is_refused() -> None:
    source = frame("t", [datetime(2026, 11, 1, 1, 30)])
    with pytest.raises(LoadError, match="America/New_York"):
        rows(source, tz="America/New_York")


def test_a_named_index_is_refused_until_it_is_decided() -> None:
    source = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="k"))
    with pytest.raises(LoadError, match="'k'"):
        open_source(source)
    assert rows(source, index="column") == [{"k": "x", "a": 1}, {"k": "y", "a": 2}]
    assert rows(source, index="drop") == [{"a": 1}, {"a": 2}]
    assert rows(pd.DataFrame({"a": [1, 2]})[1:]) == [{"a": 2}]
    with pytest.raises(LoadError, match="index is"):
        open_source(source, index="keep")  # type: ignore[arg-type]


class Colour(Enum):
    RED = "red"


def test_object_columns_are_typed_value_by_value() -> None:
    values = [np.int64(1), None, 2, pd.NA, float("nan")]
    assert [row["a"] for row in rows(frame("a", values, object))] == [1, None, 2, None, None]
    moments = [pd.Timestamp("2026-01-01", tz="Europe/Berlin"), pd.NaT, date(2026, 1, 2)]
    assert [row["a"] for row in rows(frame("a", moments, object))] == [
        datetime(2025, 12, 31, 23, tzinfo=UTC),
        None,
        datetime(2026, 1, 2, tzinfo=UTC),
    ]
    others = [Colour.RED, "blue"]
    assert [row["a"] for row in rows(frame("a", others, object))] == ["red", "blue"]
    assert [row["a"] for row in rows(frame("a", [Decimal("0.5")], object))] == [0.5]


def test_a_mix_is_livedb_text_never_str() -> None:
    opened = open_source(frame("a", [1, "1", b"x"], object))
    assert has_mark(opened.schema.field("a"), "json")
    texts = [row["a"] for row in opened.reader().read_all().to_pylist()]
    assert texts == ["1", '"1"', '{"$bytes":"eA=="}']


@pytest.mark.parametrize(
    "values", [[{1, 2}], [object()], [Decimal("0.1")], [2**60], ["\ud800"], [pd.Timedelta(1)]]
)
def test_what_has_no_livedb_value_is_refused_with_column_and_row(values: list[Any]) -> None:
    with pytest.raises(LoadError, match="Column 'a', row 1"):
        open_source(frame("a", ["fine", *values], object))


@pytest.mark.parametrize("dtype", ["complex128", "timedelta64[ns]", "period[D]"])
def test_dtypes_without_a_livedb_type_do_not_get_through(dtype: str) -> None:
    source = frame("a", pd.array([1], dtype=dtype) if dtype != "period[D]" else
                   pd.period_range("2026-01-01", periods=1))  # fmt: skip
    with pytest.raises(LoadError, match="'a'"):
        open_source(source)


def test_categories_and_extension_columns() -> None:
    source = pd.DataFrame(
        {
            "c": pd.Categorical(["x", None]),
            "i": pd.array([1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "s": pd.array(["x", None], dtype="str"),
        }
    )
    assert rows(source) == [
        {"c": "x", "i": 1, "b": True, "s": "x"},
        {"c": None, "i": None, "b": None, "s": None},
    ]


@pytest.mark.parametrize(
    "source, words",
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a'"),
        (pa.table([[1], [2]], names=["a", "a"]), "'a'"),
        (pd.DataFrame({1: [1]}), "no str"),
        (pa.table({"_secret": [1]}), "'_secret'"),
        ([{"_seq": 1}], "'_seq'"),
        ([{1: 1}], "not a str"),
        ([{"\ud800": 1}], "lone surrogate"),
        ([{"a": 1}, {"\ud800": 1}], "lone surrogate"),
        (pd.DataFrame([[1]], columns=pd.Index(["\ud800"], dtype=object)), "lone surrogate"),
    ],
)
def test_column_names_that_cannot_be_fields(source: object, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        open_source(source)


@pytest.mark.parametrize("text", ["1,2\n3,4\n", "a,\n1,2\n", "", "a,a\n1,2\n"])
def test_a_csv_without_a_header_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(LoadError):
        open_source(tmp_path / "x.csv")


def test_csv_columns_are_what_the_schema_says(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('zip,n,t,j\n01234,1,2026-01-01T00:00:00Z,"[1,2]"\n"",,,\n')
    found = open_source(
        tmp_path / "x.csv",
        fields={"zip": "string", "n": "float", "t": "datetime", "j": "list"},
    )
    assert has_mark(found.schema.field("j"), "json")
    assert found.reader().read_all().to_pylist() == [
        {"zip": "01234", "n": 1.0, "t": datetime(2026, 1, 1, tzinfo=UTC), "j": "[1,2]"},
        {"zip": "", "n": None, "t": None, "j": None},
    ]
    with pytest.raises(LoadError, match=r"'zip', row 0: '01234' is no boolean"):
        rows(tmp_path / "x.csv", fields={"zip": "boolean"})


def test_jsonl_keeps_ints_floats_absence_and_reads_words_by_the_schema(tmp_path: Path) -> None:
    lines = [
        '{"i": 1, "f": 1.0}',
        '{"i": null, "f": "NaN", "t": "2026-01-01T00:00:00Z", "b": "eA=="}',
        '{"x": {"$int64": "3"}}',
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    table = open_source(
        tmp_path / "x.jsonl", fields={"f": "float", "t": "datetime", "b": "bytes"}
    ).reader().read_all()  # fmt: skip
    assert table["i"].to_pylist() == [1, None, None]
    assert table["$absent.i"].to_pylist() == [False, False, True]
    assert np.isnan(table["f"][1].as_py())
    assert table["t"][1].as_py() == datetime(2026, 1, 1, tzinfo=UTC)
    assert table["b"][1].as_py() == b"x"
    assert has_mark(table.schema.field("x"), "int64")
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n[1]\n')
    with pytest.raises(LoadError, match="line 2"):
        open_source(tmp_path / "bad.jsonl")


def test_int64_survives_parquet(tmp_path: Path) -> None:
    table = open_source([{"a": Int64(3)}]).reader().read_all()
    pq.write_table(table, tmp_path / "x.parquet")
    assert has_mark(open_source(tmp_path / "x.parquet").schema.field("a"), "int64")


def test_documents_without_any_field_are_rows_too() -> None:
    assert open_source([{}, {}]).rows == 2
    assert open_source([]).rows == 0


# --- hostile files (reliability 2.4, no. 52) ------------------------------------------------------


def test_a_huge_row_group_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({f"c{n}": np.random.default_rng(n).random(3_000_000) for n in range(4)})
    pq.write_table(table, path, row_group_size=3_000_000)
    whole = table.nbytes
    del table
    before = pa.total_allocated_bytes()
    highest = 0
    for batch in open_source(path).reader():
        highest = max(highest, pa.total_allocated_bytes() - before)
        del batch
    assert highest < whole / 2


def test_a_type_that_livedb_has_none_for_is_refused(tmp_path: Path) -> None:
    class Unknown(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pa.int64(), "somebody.else")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: pa.DataType, data: bytes) -> Unknown:
            return cls()

    column = pa.ExtensionArray.from_storage(Unknown(), pa.array([1]))
    for table in (pa.table({"x": column}), pa.table({"x": pa.array([1], pa.duration("s"))})):
        with pytest.raises(LoadError, match="Column 'x' is of type"):
            open_source(table)
    for is_known in (True, False):
        if is_known:
            pa.register_extension_type(Unknown())
            pq.write_table(pa.table({"x": column}), tmp_path / "x.parquet")
        else:
            pa.unregister_extension_type("somebody.else")
        with pytest.raises(LoadError, match=r"'x' is of type .*, which has no livedb type"):
            open_source(tmp_path / "x.parquet")


def test_a_damaged_parquet_file_is_refused_by_its_name(tmp_path: Path) -> None:
    good, no_parquet, cut = (tmp_path / f"{name}.parquet" for name in ("a", "b", "c"))
    pq.write_table(pa.table({"a": list(range(50_000))}), good)
    no_parquet.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    data = bytearray(good.read_bytes())
    data[4:2_000] = bytes(1_996)  # the rows, where the footer is whole
    cut.write_bytes(data)
    for bad in (no_parquet, cut):
        with pytest.raises(LoadError, match=f"Parquet file '.*{bad.name}' cannot be read: "):
            stage(tmp_path, [good, bad])


def test_a_footer_of_another_file_is_refused(tmp_path: Path) -> None:
    texts = pa.table({"a": [f"text {number}" for number in range(5_000)]})
    numbers = pa.table({"a": list(range(50_000))})
    bodies = []
    for name, table in (("x", texts), ("y", numbers)):
        pq.write_table(table, tmp_path / name)
        data = (tmp_path / name).read_bytes()
        footer = int.from_bytes(data[-8:-4], "little") + 8
        bodies.append((data[:-footer], data[-footer:]))
    for body, footer in ((bodies[0][0], bodies[1][1]), (bodies[1][0], bodies[0][1])):
        (tmp_path / "z.parquet").write_bytes(body + footer)
        with pytest.raises(LoadError, match="cannot be read"):
            stage(tmp_path, tmp_path / "z.parquet")


def test_any_flipped_bit_is_refused_typed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"a": list(range(90)), "s": [f"text {n}" for n in range(90)], "l": [[1]] * 90})
    pq.write_table(table, path, row_group_size=30)
    good = path.read_bytes()
    generator = random.Random(5)
    outcomes = set()
    for _ in range(150):
        data = bytearray(good)
        data[generator.choice((generator.randrange(len(data)), -generator.randrange(1, 900)))] ^= (
            1 << generator.randrange(8)
        )
        path.write_bytes(data)
        try:
            stage(tmp_path, path)
        except LivedbError:
            outcomes.add("refused")
        else:
            outcomes.add("harmless")
    assert outcomes == {"refused", "harmless"}
    assert not list((tmp_path / "loads").glob(".staging*"))


def test_files_that_differ_in_their_columns_are_refused(tmp_path: Path) -> None:
    for name, table in (("a", {"x": [1]}), ("b", {"x": [1], "y": [1]}), ("c", {"x": ["1"]})):
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    for other in "bc":
        paths = [tmp_path / "a.parquet", tmp_path / f"{other}.parquet"]
        for order in (paths, paths[::-1]):
            with pytest.raises(LoadError, match="same columns"):
                open_source(order)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"x" * 100, b"SQLite format 3\0" * 9])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    with pytest.raises(LoadError):
        open_source(path)


def stage(folder: Path, path: Path | list[Path]) -> None:
    clock = ManualClock(seed=3)
    reader = open_source(path).reader()
    things = TableDefinition("things")
    stage_load(reader, things, 10_001, clock=clock, ids=IdFactory(clock), folder=folder / "loads")


@pytest.mark.parametrize("column", [pd.Series([1]), pl.Series([1]), pa.array([1]), TABLE["a"]])
def test_a_column_without_a_table_is_refused_with_the_way_out(column: Any) -> None:
    with pytest.raises(LoadError, match=r"is one column without a table.*to_frame"):
        open_source(column)


def test_a_url_is_refused_as_what_it_is() -> None:
    with pytest.raises(LoadError, match=r"'https://x/y\.csv' is a URL"):
        open_source("https://x/y.csv")


def test_a_format_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(LoadError, match='"csv" or "jsonl", not \'zz\''):
        open_source(tmp_path / "a.csv", format="zz")  # type: ignore[arg-type]


def test_a_folder_without_parquet_says_so(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="holds no Parquet file"):
        open_source(tmp_path)


@pytest.mark.parametrize("tz", ["Mars", "", 5])
def test_a_zone_that_does_not_exist_is_refused_used_or_not(tz: Any) -> None:
    with pytest.raises(LoadError, match="is no time zone"):
        open_source(TABLE, tz=tz)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_is_no_regular_file_is_refused_unread(tmp_path: Path, kind: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "pipe", Path("/dev/zero"), f"{tmp_path}/*.csv"):
        with pytest.raises(LoadError, match="is no regular file"):
            open_source(path, format=kind)


SHORT_OF_MEMORY = """
import resource, sys
from livedb.errors import LoadError
from livedb.interchange.sources import open_source

source = open_source(sys.argv[1])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
try:
    for batch in source.reader():
        print(batch.num_rows)
except LoadError as error:
    print(error)
"""


def test_a_parquet_file_that_memory_has_no_room_for_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["x" * (128 << 20)]}), tmp_path / "t.parquet", compression="zstd")
    ended = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(tmp_path / "t.parquet")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},  # mimalloc holds 1 GiB in reserve
    )
    assert "t.parquet' cannot be read: " in ended.stdout, ended.stderr
