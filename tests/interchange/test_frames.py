"""The fixed map to pandas, and what never changes a dtype."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import livedb
from livedb.errors import InvalidValueError
from livedb.interchange.arrow import (
    documents_to_arrow,
    fields_of,
    infer_fields,
    narrow_huge_integers,
)
from livedb.interchange.frames import FrameMixin, arrow_to_pandas, arrow_to_polars
from livedb.schema.namespace import v
from livedb.schema.tables import TableDefinition
from livedb.values import Int64, Value

TABLE = TableDefinition(
    "things",
    v.object(
        {
            "i": v.nullable(v.integer()),
            "n": v.optional(v.int64()),
            "b": v.nullable(v.boolean()),
            "f": v.nullable(v.number()),
            "s": v.nullable(v.string()),
            "t": v.nullable(v.datetime()),
            "l": v.nullable(v.array(v.string())),
            "o": v.optional(v.object({"x": v.integer(), "when": v.nullable(v.datetime())})),
            "r": v.nullable(v.bytes()),
            "a": v.any(),
            "status": v.union(v.literal("x"), v.literal("y"), v.null()),
            "both": v.nullable(v.union(v.integer(), v.number())),
        }
    ),
)
DTYPES = {
    "_id": "str",
    "_creationTime": "Float64",
    "i": "Int64",
    "n": "Int64",
    "b": "boolean",
    "f": "Float64",
    "s": "str",
    "t": "datetime64[us, UTC]",
    "l": "list<item: string>[pyarrow]",
    "o": "struct<x: int64, when: timestamp[us, tz=UTC]>[pyarrow]",
    "r": "binary[pyarrow]",
    "a": "str",
    "status": "str",
    "both": "Float64",
}
WHEN = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
FULL: dict[str, Value] = {
    "_id": "id", "_creationTime": 1.5, "i": 2**53 - 1, "n": Int64(2**62 + 1), "b": True,
    "f": float("nan"), "s": "x", "t": WHEN, "l": ["a"], "o": {"x": 1, "when": WHEN}, "r": b"x",
    "a": [1, "a"], "status": "x", "both": 1,
}  # fmt: skip
EMPTY: dict[str, Value] = {"_id": "id", "_creationTime": 2.5, "f": None}


@pytest.mark.parametrize("documents", [[], [FULL], [EMPTY], [FULL, EMPTY], [EMPTY] * 3])
def test_dtypes_follow_from_the_schema_alone(documents: list[dict[str, Value]]) -> None:
    fields = fields_of(TABLE)
    frame = arrow_to_pandas(documents_to_arrow(documents, fields), fields)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert isinstance(frame.index, pd.RangeIndex)
    assert len(frame) == len(documents)
    arrow = arrow_to_pandas(documents_to_arrow(documents, fields), dtype_backend="pyarrow")
    assert {type(dtype) for dtype in arrow.dtypes} == {pd.ArrowDtype}


def test_values_arrive_exactly() -> None:
    frame = arrow_to_pandas(documents_to_arrow([FULL, EMPTY], fields_of(TABLE)))
    assert frame["n"][0] == 2**62 + 1
    assert frame["i"][0] == 2**53 - 1
    assert frame["t"][0] == pd.Timestamp(WHEN)
    assert frame["o"][0] == {"x": 1, "when": pd.Timestamp(WHEN)}
    assert frame["a"][0] == '[1,"a"]'
    assert frame["i"][1] is pd.NA


def test_nan_is_a_value_and_null_is_missing() -> None:
    column = arrow_to_pandas(documents_to_arrow([FULL, EMPTY], fields_of(TABLE)))["f"]
    assert column.isna().tolist() == [False, True]
    assert np.isnan(column[0])
    assert column.copy().iloc[[0, 1]].isna().tolist() == [False, True]
    back = pa.array(column)
    assert (back.null_count, back[0].as_py() != back[0].as_py()) == (1, True)


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"'i'.*float.*int"):
        documents_to_arrow([{"i": 1.5}], fields_of(TABLE))


@pytest.mark.parametrize(
    "values, expected",
    [
        ([1, None], "int"),
        ([1, 2.5], "float"),
        ([Int64(1)], "int64"),
        ([Int64(1), 1], "any"),
        (["a"], "string"),
        ([b"a"], "bytes"),
        ([WHEN], "datetime"),
        ([True], "boolean"),
        ([True, 1], "any"),
        ([[1], []], "list"),
        ([[1, "a"]], "json"),
        ([{"a": 1}], "object"),
        ([{}], "json"),
        ([None], "any"),
    ],
)
def test_the_fixed_inference(values: list[Value], expected: str) -> None:
    documents = [{"x": value} for value in values]
    assert infer_fields(documents) == {"x": expected}
    assert documents_to_arrow(documents, None).num_rows == len(values)


@pytest.mark.parametrize(
    "arrow, expected",
    [
        (pa.int8(), "Int64"),
        (pa.uint64(), "UInt64"),
        (pa.float32(), "Float64"),
        (pa.large_string(), "str"),
        (pa.string_view(), "str"),
        (pa.dictionary(pa.int8(), pa.string()), "str"),
        (pa.json_(), "str"),
        (pa.timestamp("ns", "Europe/Berlin"), "datetime64[us, UTC]"),
        (pa.timestamp("s"), "datetime64[us]"),
        (pa.date32(), "date32[day][pyarrow]"),
        (pa.decimal128(10, 2), "decimal128(10, 2)[pyarrow]"),
        (pa.null(), "null[pyarrow]"),
        (pa.decimal128(38, 0), "Int64"),
    ],
)
def test_other_types_of_sql_results(arrow: pa.DataType, expected: str) -> None:
    for values in ([], [None, None]):
        frame = arrow_to_pandas(pa.table({"x": pa.array(values, arrow)}))
        assert str(frame["x"].dtype) == expected


def test_a_huge_integer_is_a_bigint_or_a_decimal_never_a_float() -> None:
    small = pa.table({"x": pa.array([2**53 + 1, None], pa.decimal128(38, 0))})
    assert narrow_huge_integers(small)["x"].to_pylist() == [2**53 + 1, None]
    huge = pa.table({"x": pa.array([2**70], pa.decimal128(38, 0))})
    assert str(arrow_to_pandas(huge)["x"].dtype) == "decimal128(38, 0)[pyarrow]"
    assert int(arrow_to_pandas(huge)["x"][0]) == 2**70


def test_polars_takes_every_column() -> None:
    frame = arrow_to_polars(documents_to_arrow([FULL, EMPTY], fields_of(TABLE)))
    assert frame.schema["t"] == pl.Datetime("us", "UTC")
    assert frame["n"].to_list() == [2**62 + 1, None]


@pytest.mark.parametrize("documents", [[], [FULL], [EMPTY], [FULL, EMPTY]])
def test_polars_types_follow_from_the_schema_alone(documents: list[dict[str, Value]]) -> None:
    fields = fields_of(TABLE)
    wanted = arrow_to_polars(documents_to_arrow([FULL], fields)).schema
    assert arrow_to_polars(documents_to_arrow(documents, fields)).schema == wanted
    huge = pa.table({"x": pa.array([5], pa.decimal128(38, 0))})
    assert arrow_to_polars(huge).schema["x"] == pl.Int64


def test_an_unknown_backend_of_dtypes_is_refused() -> None:
    with pytest.raises(ValueError, match="dtype_backend"):
        arrow_to_pandas(pa.table({"x": [1]}), dtype_backend="numpy")  # type: ignore[arg-type]


def test_sums_and_literals_of_sql_are_integers_however_many_nulls() -> None:
    with livedb.open() as db:
        db.load("t", [{"a": 2**53 - 1, "b": 1}, {"a": 1, "b": None}])
        rows = db.sql("select sum(a) s, sum(b) n, count(*) c, 7 l, sum(a) filter (b = 9) e from t")
        assert {str(dtype) for dtype in rows.df.dtypes} == {"Int64"}
        assert rows.df["s"][0] == 2**53
        assert set(rows.to_polars().dtypes) <= {pl.Int64, pl.Int32}
        large = db.sql("select sum(x) s from (select 9223372036854775807 x union all select 1)").df
        assert str(large["s"].dtype) == "decimal128(38, 0)[pyarrow]"
        assert int(large["s"][0]) == 2**63


class Handle(FrameMixin):
    """What a handle gives the mixin."""

    def _to_arrow(self) -> pa.Table:
        return documents_to_arrow([FULL], fields_of(TABLE))

    def _frame_snapshot(self) -> tuple[pa.Table, int | None]:
        return self._to_arrow(), 7


def test_the_mixin_gives_frames_streams_and_exports(tmp_path: Any) -> None:
    handle = Handle()
    assert handle.df.equals(handle.to_pandas())
    assert handle.to_polars().height == handle.to_arrow().num_rows == 1
    assert pa.table(handle).schema.equals(handle.to_arrow().schema)
    for name in ("parquet", "csv", "jsonl"):
        result = getattr(handle, f"to_{name}")(tmp_path / f"x.{name}")
        assert (result.number, result.rows, result.path) == (7, 1, tmp_path / f"x.{name}")


def test_altair_draws_tables_handles_and_results_of_sql() -> None:
    with livedb.open() as db:
        db.load("t", [{"a": 1, "f": 0.5, "s": "x", "t": datetime(2026, 1, 2, tzinfo=UTC)}])
        for rows in (db["t"], db["t"].live(), db.sql("from t"), db.sql("from t").live()):
            spec = alt.Chart(rows).mark_bar().encode(x="a", y="f", color="s", row="t").to_dict()
            ((drawn,),) = spec["datasets"].values()
            assert (drawn["a"], drawn["f"], drawn["s"]) == (1, 0.5, "x")
            assert drawn["t"].startswith("2026-01-02T00:00:00")
            kinds = {name: channel["type"] for name, channel in spec["encoding"].items()}
            quantitative = dict.fromkeys("xy", "quantitative")
            assert kinds == quantitative | {"color": "nominal", "row": "temporal"}


def test_a_handle_costs_no_pandas_nor_pyarrow() -> None:
    code = (
        "import sys, livedb.interchange.frames;"
        "print(sorted({'pandas', 'polars', 'pyarrow', 'duckdb'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
