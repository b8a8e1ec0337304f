from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from livedb.notebook.cells import (
    CELL_CHARACTERS_MAX,
    Column,
    columns_of,
    encode_rows,
    plain_rows,
    text_of_cell,
)

CASES = json.loads((Path(__file__).parents[2] / "widgets/test/cells.json").read_text())


def python_value(case):
    match case["kind"], case["value"]:
        case "datetime", int() as microseconds:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
        case "float", str() as special:
            return float(special)
        case _, value:
            return value


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}-{case['text']}")
def test_a_cell_is_drawn_as_the_page_draws_it(case):
    cell = text_of_cell(python_value(case), case["kind"])
    assert cell == (case["text"], case["title"], case["dim"])


def sent(
    column: pa.Array | pa.ChunkedArray, field_type: str = "any", name: str = "x"
) -> tuple[Column, pa.Table]:
    """A column as a page gets it."""
    window = pa.table({name: column})
    columns = columns_of(window.schema, {name: field_type})
    return columns[0], pa.ipc.open_stream(encode_rows(plain_rows(window, columns))).read_all()


@pytest.mark.parametrize(
    "column,kind,values",
    [
        (pa.array([1, None], pa.int32()), "integer", [1, None]),
        (pa.array([2**64 - 1], pa.uint64()), "integer", [2**64 - 1]),
        (pa.array([1.5, None, float("inf")], pa.float32()), "float", [1.5, None, float("inf")]),
        (pa.array([True, None]), "boolean", [True, None]),
        (pa.array(["a", None], pa.large_string()), "text", ["a", None]),
        (pa.array(["a", "a", None]).dictionary_encode(), "text", ["a", "a", None]),
        (pa.array([b"\x00\xff", None]), "bytes", ["0x00ff", None]),
        (pa.array([b"x" * 100]), "bytes", ["0x" + "78" * 32 + "… (100 bytes)"]),
        (pa.array([[1, 2], None]), "json", ["[1, 2]", None]),
        (pa.array([{"a": b"\x01", "b": "é"}]), "json", ['{"a": "0x01", "b": "é"}']),
        (pa.array([Decimal("1.10")]), "number", ["1.10"]),
        (pa.array([timedelta(seconds=1)]), "text", ["0:00:01"]),
        (pa.array([None, None]), "text", [None, None]),
        (pa.array([datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)]), "datetime", [-1_000_000]),
        (pa.array([1], pa.timestamp("s")), "datetime", [1_000_000]),
        (pa.array([1_999], pa.timestamp("ns", "UTC")), "datetime", [1]),
        (pa.chunked_array([], pa.int64()), "integer", []),
        (pa.chunked_array([["a"], ["b"]]), "text", ["a", "b"]),
    ],
    ids=str,
)
def test_every_type_travels_as_one_that_a_page_decodes(column, kind, values):
    drawn, table = sent(column)
    assert drawn.kind == kind
    assert table.column(0).to_pylist() == values


def test_creation_times_are_instants_although_they_are_stored_as_milliseconds():
    drawn, table = sent(pa.array([1.5, None, float("nan")]), name="_creationTime")
    assert drawn.kind == "datetime"
    assert table.column(0).to_pylist() == [1500, None, None]


@pytest.mark.parametrize("data_type", [pa.string(), pa.large_string(), pa.string_view()])
def test_a_megabyte_in_a_cell_costs_a_page_a_kilobyte(data_type):
    _, table = sent(pa.array(["é" * 1_000_000, "short"], data_type))
    long, short = table.column(0).to_pylist()
    assert long == "é" * (CELL_CHARACTERS_MAX - 1) + "…"
    assert short == "short"


def test_columns_of_one_name_stay_apart():
    window = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"])
    columns = columns_of(window.schema, {})
    table = pa.ipc.open_stream(encode_rows(plain_rows(window, columns))).read_all()
    assert table.to_pydict() == {"0": [1], "1": [2]}
    assert [column.name for column in columns] == ["n", "n"]
