"""What a bulk load stages is what inserts would have stored, or nothing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from livedb.canonical import prepare_fields
from livedb.clock import ManualClock
from livedb.errors import LivedbError, LoadError, SchemaEnforcementError
from livedb.ids import IdFactory, sequence_of, table_number_of
from livedb.interchange.rows import rows_to_table
from livedb.interchange.sources import open_source
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.check import check_document
from livedb.schema.namespace import v
from livedb.schema.tables import TableDefinition
from livedb.store.loads import StagedLoad, stage_load
from livedb.testing import strategies
from livedb.text import decode_fields, encode_fields
from livedb.values import Int64, Value
from tests.thorough import examples

NUMBER = 10_001
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""No shrinking: an example costs a synced file."""
SCHEMALESS = TableDefinition("things")


def stage(folder: Path, source: object, definition: TableDefinition, **options: Any) -> StagedLoad:
    clock = ManualClock(seed=3)
    opened = open_source(source) if not isinstance(source, pa.RecordBatchReader) else None
    return stage_load(
        source if opened is None else opened.reader(),
        definition,
        NUMBER,
        clock=clock,
        ids=IdFactory(clock),
        folder=folder,
        **options,
    )


def staged(
    folder: Path, source: object, definition: TableDefinition = SCHEMALESS, **options: Any
) -> pa.Table:
    return pq.read_table(folder / stage(folder, source, definition, **options).file)


def texts_of_inserts(
    documents: Sequence[Mapping[str, Value]], definition: TableDefinition
) -> list[bytes]:
    return [
        encode_fields(check_document(definition, prepare_fields(each)[0])) for each in documents
    ]


# --- the text -------------------------------------------------------------------------------------

COLUMNS: dict[str, tuple[Any, st.SearchStrategy[Value]]] = {
    "string": (v.string(), strategies.texts()),
    "nullable": (v.nullable(v.string()), st.none() | strategies.texts()),
    "optional": (v.optional(v.string()), strategies.texts()),
    "both": (v.optional(v.nullable(v.number())), st.none() | st.floats()),
    "flag": (v.nullable(v.boolean()), st.none() | st.booleans()),
    "int": (v.integer(), st.sampled_from(strategies.ODD_INTS)),
    "float": (v.number(), st.sampled_from(strategies.ODD_FLOATS) | st.floats()),
    "big": (v.nullable(v.int64()), st.none() | strategies.int64s()),
    "when": (v.nullable(v.datetime()), st.none() | strategies.datetimes()),
    "raw": (v.nullable(v.bytes()), st.none() | st.binary()),
    "status": (v.union(v.literal("a"), v.literal("b")), st.sampled_from("ab")),
    "tags": (v.array(v.union(v.string(), v.number())), st.lists(strategies.texts() | st.floats())),
    "inner": (
        v.object({"x": v.nullable(v.datetime()), "y": v.optional(v.int64())}),
        st.fixed_dictionaries(
            {"x": st.none() | strategies.datetimes()}, optional={"y": strategies.int64s()}
        ),
    ),
    "any": (v.any(), strategies.primitives()),
    "mixed": (  # one case, one line
        v.union(v.string(), v.number(), v.integer()),
        strategies.texts() | strategies.numbers(),
    ),
    "defaulted": (v.nullable(v.string()), st.none() | strategies.texts()),
}
OPTIONAL = {"optional", "both", "defaulted"}
TABLE = TableDefinition(
    "things",
    v.object({name: validator for name, (validator, _) in COLUMNS.items()}),
    defaults={"defaulted": 'a "default"'},
)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Value]]:
    names = draw(st.permutations(list(COLUMNS)))
    required = {name: COLUMNS[name][1] for name in names if name not in OPTIONAL}
    row = st.fixed_dictionaries(required, optional={name: COLUMNS[name][1] for name in OPTIONAL})
    found = draw(st.lists(row, min_size=1, max_size=6))
    # One order for all rows, that of first appearance: a table has one order of columns.
    ordered = [{name: each[name] for name in names if name in each} for each in found]
    order = dict.fromkeys(chain.from_iterable(ordered))
    return [{name: each[name] for name in order if name in each} for each in ordered]


@settings(max_examples=examples(25), phases=PHASES)
@given(documents=rows())
def test_a_loaded_text_is_the_inserted_text(
    documents: list[dict[str, Value]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = staged(tmp_path_factory.mktemp("loads"), documents, TABLE)
    for found, wanted in zip(
        table["_doc"].to_pylist(), texts_of_inserts(documents, TABLE), strict=True
    ):
        assert found == wanted


@settings(max_examples=examples(25), phases=PHASES)
@given(documents=st.lists(strategies.documents(), max_size=5))
def test_any_documents_of_a_schemaless_table_come_back(
    documents: list[dict[str, Value]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = staged(tmp_path_factory.mktemp("loads"), documents)
    loaded = [decode_fields(text) for text in table["_doc"].to_pylist()]
    assert [sorted(each) for each in loaded] == [sorted(each) for each in documents]
    for each, document in zip(loaded, documents, strict=True):
        in_order = {name: document[name] for name in each}
        assert encode_fields(each) == encode_fields(in_order)


def test_every_character_that_json_escapes(tmp_path: Path) -> None:
    documents = [{"a": chr(code)} for code in range(0x300)] + [{"a": 'x\\u000B"\x0b\U0001f600'}]
    assert staged(tmp_path, documents)["_doc"].to_pylist() == [encode_fields(d) for d in documents]


def test_floats_print_as_msgspec_prints_them(tmp_path: Path) -> None:
    bits = np.random.default_rng(5).integers(0, 2**64, 50_000, dtype=np.uint64)
    values = [value for value in bits.view(np.float64).tolist() if not math.isnan(value)]
    values += [sign * digit * 10.0**power for sign in (1, -1) for digit in (1, 1.5, 9.99)
               for power in range(-30, 30)]  # fmt: skip
    documents = [{"a": value} for value in [*values, float("nan"), -float("nan")]]
    assert staged(tmp_path, documents)["_doc"].to_pylist() == [encode_fields(d) for d in documents]


def test_nested_arrow_columns(tmp_path: Path) -> None:
    table = pa.table({"l": [[1.5, None], None], "s": [{"a": 1, "b": b"x"}, None]})
    assert staged(tmp_path, table)["_doc"].to_pylist() == [
        encode_fields({"l": [1.5, None], "s": {"a": 1, "b": b"x"}}),
        encode_fields({"l": None, "s": None}),
    ]


# --- ids, times, columns, file --------------------------------------------------------------------


def test_ids_times_and_sequences(tmp_path: Path) -> None:
    table = staged(tmp_path, [{"a": n} for n in range(1000)], start_ms=4e12)
    ids, times = table["_id"].to_pylist(), table["_creationTime"].to_pylist()
    assert len(set(ids)) == 1000
    assert {table_number_of(each) for each in ids} == {NUMBER}
    assert table["_seq"].to_pylist() == [sequence_of(each) for each in ids]
    assert all(a < b for a, b in pairwise(times))
    assert times[0] > 4e12
    assert times[-1] < 4e12 + 1


def test_the_file_is_named_by_its_hash_and_alone_in_the_folder(tmp_path: Path) -> None:
    load = stage(tmp_path, [{"a": 1}], SCHEMALESS)
    data = (tmp_path / load.file).read_bytes()
    assert load.sha256 == hashlib.sha256(data).digest()
    assert load.file == f"{load.sha256.hex()}.parquet"
    assert [each.name for each in tmp_path.iterdir()] == [load.file]
    assert load.rows == 1


def test_a_refused_load_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LoadError):
        stage(tmp_path, [{"a": 1, "$b": 2}], SCHEMALESS)
    with pytest.raises(SchemaEnforcementError):
        stage(tmp_path, [{"a": 1}], TableDefinition("things", v.object({"a": v.string()})))
    assert list(tmp_path.iterdir()) == []


def test_columns_have_the_schemas_types_whatever_the_data(tmp_path: Path) -> None:
    documents: list[dict[str, Value]] = [
        {"string": "x", "nullable": None, "flag": None, "int": 1, "float": 2.0, "big": None,
         "when": None, "raw": None, "status": "a", "tags": [], "inner": {"x": None}, "any": None,
         "mixed": 1}
    ]  # fmt: skip
    schema = staged(tmp_path, documents, TABLE).schema
    assert schema.field("big").type == pa.int64()
    assert schema.field("when").type == pa.timestamp("us", "UTC")
    assert schema.field("raw").type == pa.large_binary()
    assert schema.field("both").type == pa.float64()
    assert schema.field("defaulted").type == pa.large_string()
    assert isinstance(schema.field("tags").type, pa.JsonType)


def test_fields_that_sql_could_confuse_are_only_in_the_document(tmp_path: Path) -> None:
    table = staged(tmp_path, [{"a": 1, "A": 2, "": 3, "b": 4}])
    assert table.column_names == ["_id", "_creationTime", "_seq", "_doc", "a", "b"]
    assert decode_fields(table["_doc"][0].as_py()) == {"a": 1, "A": 2, "": 3, "b": 4}


def test_an_empty_source(tmp_path: Path) -> None:
    load = stage(tmp_path, pa.table({"a": pa.array([], pa.int64())}), SCHEMALESS)
    assert load.rows == 0
    assert pq.read_table(tmp_path / load.file).num_rows == 0


def test_many_batches_are_one_load(tmp_path: Path) -> None:
    batches = [pa.record_batch({"a": list(range(n, n + 7))}) for n in range(0, 70_000, 7)]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, iter(batches))
    seen: list[int] = []
    table = staged(tmp_path, reader, progress=seen.append)
    assert table["a"].to_pylist() == list(range(70_000))
    assert seen[-1] == 70_000


# --- schema ---------------------------------------------------------------------------------------


def one(name: str, validator: Any, **defaults: Value) -> TableDefinition:
    return TableDefinition("things", v.object({name: validator}), defaults=defaults)


def loaded(folder: Path, column: pa.Array, validator: Any) -> list[Value]:
    table = staged(folder, pa.table({"x": column}), one("x", validator))
    return [decode_fields(text).get("x", "absent") for text in table["_doc"].to_pylist()]


@pytest.mark.parametrize(
    "column, validator, expected",
    [
        (pa.array([1.0, None]), v.nullable(v.integer()), [1, None]),
        (pa.array([1, 2]), v.number(), [1.0, 2.0]),
        (pa.array([1, 2], pa.int8()), v.integer(), [1, 2]),
        (pa.array([2**63 - 1]), v.int64(), [Int64(2**63 - 1)]),
        (pa.array(["a", None]).dictionary_encode(), v.nullable(v.string()), ["a", None]),
        (pa.array(["a", None]), v.optional(v.string()), ["a", "absent"]),
        (pa.array([1.5], pa.float32()), v.number(), [1.5]),
        (
            pa.array([datetime(2026, 1, 2, tzinfo=UTC)], pa.timestamp("ns", "Europe/Berlin")),
            v.datetime(),
            [datetime(2026, 1, 2, tzinfo=UTC)],
        ),
        (pa.array([datetime(2026, 1, 2)]).cast(pa.date32()), v.datetime(),
         [datetime(2026, 1, 2, tzinfo=UTC)]),
        (pa.array([[1, 2]]), v.array(v.number()), [[1.0, 2.0]]),
        (pa.array([None, None]), v.nullable(v.datetime()), [None, None]),
    ],
)  # fmt: skip
def test_exact_conversions(
    tmp_path: Path, column: pa.Array, validator: Any, expected: list[Value]
) -> None:
    found = loaded(tmp_path, column, validator)
    assert found == expected
    assert [type(each) for each in found] == [type(each) for each in expected]


@pytest.mark.parametrize(
    "column, validator, words",  # one case, one line
    [
        (pa.array(["a", "b"]), v.integer(), "row 0"),
        (pa.array([1.0, 2.5]), v.integer(), "row 1: Expected a whole number and found the float 2.5"),  # noqa: E501  # one case, one line
        (pa.array([1.0, float("nan")]), v.integer(), "row 1"),
        (pa.array([1, 2**53 + 1]), v.integer(), "row 1.*9007199254740993"),
        (pa.array([1, 2**53 + 1]), v.number(), "row 1.*9007199254740993"),
        (pa.array([2**63], pa.uint64()), v.int64(), "row 0"),
        (pa.array(["a", None]), v.string(), "row 1.*None"),
        (pa.array(["a", "c"]), v.union(v.literal("a"), v.literal("b")), "row 1.*'c'"),
        (pa.array([True]), v.integer(), "row 0.*True"),
        (pa.array([1]), v.boolean(), "row 0.*1"),
        (pa.array(["2026-01-01T00:00:00Z"]), v.datetime(), "row 0.*datetime"),
        (pa.array([1_001], pa.timestamp("ns", "UTC")), v.datetime(), "row 0.*nanoseconds"),
        (pa.array([2**62], pa.timestamp("us", "UTC")), v.datetime(), "row 0.*years"),
        (pa.array([b"x"]), v.string(), "row 0.*bytes"),
        (pa.array([["a"], None]), v.array(v.string()), "row 1"),
        (pa.array([[1.0], [2.5]]), v.array(v.integer()), r"row 1(.|\n)*\.x\[0\]"),
        (pa.array(["nonsense"]), v.id("things"), "row 0.*id"),
    ],
)  # fmt: skip
def test_a_misfit_is_refused_with_column_row_and_value(
    tmp_path: Path, column: pa.Array, validator: Any, words: str
) -> None:
    with pytest.raises((SchemaEnforcementError, LoadError), match=f"(?s)Column 'x', {words}"):
        loaded(tmp_path, column, validator)
    assert list(tmp_path.iterdir()) == []


def test_columns_the_table_lacks_and_fields_the_source_lacks(tmp_path: Path) -> None:
    definition = TableDefinition("things", v.object({"title": v.string(), "n": v.number()}))
    with pytest.raises(SchemaEnforcementError, match=r"'titel'.*did you mean 'title'"):
        stage(tmp_path, [{"titel": "a", "n": 1.0}], definition)
    with pytest.raises(SchemaEnforcementError, match="no column 'n'"):
        stage(tmp_path, [{"title": "a"}], definition)
    with pytest.raises(SchemaEnforcementError, match="Row 1 lacks the required field 'n'"):
        stage(tmp_path, [{"title": "a", "n": 1.0}, {"title": "a"}], definition)


def test_an_id_of_another_table_is_refused(tmp_path: Path) -> None:
    clock = ManualClock()
    users, others = (IdFactory(clock).new(number) for number in (10_002, 10_003))
    catalog = Catalog()
    for number, name in ((10_001, "things"), (10_002, "users"), (10_003, "others")):
        catalog = catalog.with_table(1, CatalogTable(number, TableDefinition(name)))
    definition = one("x", v.id("users"))
    stage(tmp_path, [{"x": users}], definition, catalog=catalog)
    with pytest.raises(SchemaEnforcementError, match=r"(?s)row 1.*others"):
        stage(tmp_path, [{"x": users}, {"x": others}], definition, catalog=catalog)


def test_documents_that_are_unions_and_inner_defaults(tmp_path: Path) -> None:
    union = TableDefinition(
        "things",
        v.union(
            v.object({"kind": v.literal("a"), "n": v.number()}),
            v.object({"kind": v.literal("b"), "s": v.string()}),
        ),
    )
    documents: list[dict[str, Value]] = [{"kind": "a", "n": 1.0}, {"kind": "b", "s": "x"}]
    assert staged(tmp_path, documents, union)["_doc"].to_pylist() == texts_of_inserts(
        documents, union
    )
    with pytest.raises(SchemaEnforcementError, match="Row 1"):
        stage(tmp_path, [*documents[:1], {"kind": "b", "n": 1.0}], union)
    inner = TableDefinition(
        "things",
        v.object({"o": v.object({"a": v.string(), "b": v.string()}), "d": v.datetime()}),
        defaults={"o.b": "x", "d": datetime(2026, 1, 1, tzinfo=UTC)},
    )
    documents = [{"o": {"a": "1"}}, {"o": {"b": "2", "a": "1"}}]
    assert staged(tmp_path, documents, inner)["_doc"].to_pylist() == texts_of_inserts(
        documents, inner
    )


def test_a_document_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="Row 1"):
        stage(tmp_path, [{"a": "x"}, {"a": "x" * (1 << 20)}], SCHEMALESS)


@pytest.mark.parametrize("value", [2**60, -(2**60)])
def test_an_integer_that_is_too_large_is_shown(tmp_path: Path, value: int) -> None:
    with pytest.raises(LoadError, match=rf"Column 'a', row 1: {value} is beyond"):
        stage(tmp_path, pa.table({"a": [1, value]}), SCHEMALESS)


# --- own ids --------------------------------------------------------------------------------------


def test_own_ids_and_times_are_kept_only_when_asked(tmp_path: Path) -> None:
    source = staged(tmp_path, [{"a": 1}, {"a": 2}]).select(["_id", "_creationTime", "a"])
    with pytest.raises(LoadError, match='ids="keep"'):
        stage(tmp_path, source, SCHEMALESS)
    again = staged(tmp_path, source, keep_ids=True)
    assert again.select(["_id", "_creationTime", "a"]) == source
    assert again["_seq"].to_pylist() == [sequence_of(each) for each in again["_id"].to_pylist()]


@pytest.mark.parametrize("bad", ["another table", "twice", "time", "no id"])
def test_own_ids_that_cannot_be_kept(tmp_path: Path, bad: str) -> None:
    new = IdFactory(ManualClock(seed=9)).new
    ids, times = [new(NUMBER), new(NUMBER)], [1.0, 2.0]
    match bad:
        case "another table":
            ids[1] = new(NUMBER + 1)
        case "twice":
            ids[1] = ids[0]
        case "time":
            times[1] = -1.0
        case "no id":
            ids[1] = "x"
    source = pa.table({"_id": ids, "_creationTime": times, "a": [1, 2]})
    with pytest.raises(LivedbError):
        stage(tmp_path, source, SCHEMALESS, keep_ids=True)
    assert list(tmp_path.iterdir()) == []


def test_rows_to_table_keeps_null_and_absent_apart(tmp_path: Path) -> None:
    documents: list[dict[str, Value]] = [{"a": None}, {}, {"a": 1}]
    texts = staged(tmp_path, rows_to_table(documents))["_doc"].to_pylist()
    assert texts == [encode_fields(each) for each in documents]
