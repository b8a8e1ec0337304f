"""No document that can be stored makes a fold fail, hence SQL (law 9): through the whole workspace.

Inserts, deletions, bulk loads and schema changes of hostile documents; after each, SQL sees the
documents to the last bit, and no column shows another value than the document has.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import livedb
from livedb.errors import SchemaChangeError, SchemaEnforcementError
from livedb.limits import Limits
from livedb.testing.strategies import hostile_documents, values
from livedb.text import decode_fields, encode_fields
from livedb.values import Value
from tests.store.test_tables import check_row
from tests.thorough import examples

V = livedb.v

TYPES = (V.any, V.integer, V.number, V.string, V.boolean, V.datetime, V.int64, V.bytes)

# Some names often meet in one program, with values of every type.
shared = st.dictionaries(st.sampled_from(["a", "A", "b"]), values(max_leaves=3))
document = st.builds(operator.or_, hostile_documents(), shared)
meeting = st.sampled_from([1, 0.5, math.nan, livedb.Int64(5), livedb.Int64(2**53 + 1)])
mixed_numbers = st.builds(lambda number: {"a": number}, meeting)
documents = st.lists(document | mixed_numbers, min_size=1, max_size=4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), documents),
        st.tuples(st.just("load"), documents),
        st.tuples(st.just("delete"), st.integers(0, 20)),
        st.tuples(st.just("schema"), st.lists(st.sampled_from(TYPES), min_size=1, max_size=3)),
    ),
    min_size=1,
    max_size=5,
)


class Folded:
    """One table of a workspace beside what was stored in it."""

    def __init__(self, db: livedb.Database, name: str) -> None:
        self.db = db
        self.name = name
        self.expected: dict[str, bytes] = {}

    def do(self, verb: str, what: Any) -> None:
        with suppress(SchemaEnforcementError, SchemaChangeError):  # refused: nothing was stored
            getattr(self, f"_{verb}")(what)
        self.check()

    def _insert(self, given_documents: list[dict[str, Value]]) -> None:
        ids = self.db[self.name].insert(given_documents)
        for document_id, fields in zip(ids, given_documents, strict=True):
            self.expected[document_id] = bytes(encode_fields(fields))

    def _load(self, given_documents: list[dict[str, Value]]) -> None:
        before = set(self.texts())
        self.db.load(self.name, given_documents)
        loaded = {each: text for each, text in self.texts().items() if each not in before}
        wanted = sorted(bytes(encode_fields(fields)) for fields in given_documents)
        # A load makes columns of the fields first, so their order may differ.
        assert sorted(map(_unordered, loaded.values())) == sorted(map(_unordered, wanted))
        self.expected |= loaded

    def _delete(self, at: int) -> None:
        if self.expected:
            chosen = sorted(self.expected)[at % len(self.expected)]
            self.db[self.name].delete(chosen)
            del self.expected[chosen]

    def _schema(self, types: list[Any]) -> None:
        """Fields as first seen, typed in turn; refused when some document does not fit."""
        names: dict[str, None] = {}
        for text in self.expected.values():
            names |= dict.fromkeys(decode_fields(text))
        fields = {
            name: V.optional(types[at % len(types)]()) for at, name in enumerate(names) if name
        }
        table = livedb.define_table(V.object(fields))
        self.db.push(livedb.define_schema({self.name: table}))

    def texts(self) -> dict[str, bytes]:
        """Every document's text as DuckDB keeps it."""
        workspace = self.db.backend.workspace
        table = self.db.backend.catalog().get(self.name)
        if table is None:
            return {}
        with workspace.folder.snapshot() as snapshot:
            found = snapshot.load_table(table.number)
        return dict(zip(found.ids.to_pylist(), found.texts.to_pylist(), strict=True))

    def check(self) -> None:
        if self.name not in self.db.tables:
            assert not self.expected
            return
        assert self.texts() == self.expected
        result = self.db.sql(f'from "{self.name}"')
        rows = result.to_arrow().to_pylist()
        assert {row["_id"] for row in rows} == set(self.expected)
        for row in rows:
            check_row(row, decode_fields(self.expected[row["_id"]]))
        assert len(result.to_pandas()) == len(self.expected)


def _unordered(text: bytes) -> bytes:
    fields = decode_fields(text)
    return bytes(encode_fields({name: fields[name] for name in sorted(fields)}))


@pytest.fixture(scope="module")
def workspace() -> Iterator[livedb.Database]:
    with livedb.open(limits=Limits(fold_idle_s=1e9)) as db:
        yield db


def run(db: livedb.Database, program: list[tuple[str, Any]]) -> None:
    folded = Folded(db, "hostile")
    try:
        for verb, what in program:
            folded.do(verb, what)
    finally:
        if "hostile" in db.tables:
            db.drop_table("hostile")


@given(steps)
@settings(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))
def test_sql_takes_every_stored_document(
    workspace: livedb.Database, program: list[tuple[str, Any]]
) -> None:
    run(workspace, program)


@pytest.mark.oracle
@pytest.mark.timeout(1800)
@given(steps)
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_sql_takes_every_stored_document_of_many_programs(
    workspace: livedb.Database, program: list[tuple[str, Any]]
) -> None:
    run(workspace, program)


def test_a_field_that_the_table_shows_and_a_loaded_file_cannot_is_shown_as_json(
    workspace: livedb.Database,
) -> None:
    # Of `a` and `A` SQL shows one: the table has the column `A`, and the file that of `a`.
    program = [("insert", [{"A": True}]), ("load", [{"a": [1]}, {"A": False}])]
    folded = Folded(workspace, "hostile")
    for verb, what in program:
        folded.do(verb, what)
    shown = workspace.sql('select "A", "A__json" from hostile order by _creationTime').to_arrow()
    workspace.drop_table("hostile")
    assert shown.to_pydict() == {"A": [True, None, None], "A__json": [None, None, "false"]}


@pytest.mark.parametrize(
    "program",
    [
        [("insert", [{"a": 1.5}]), ("load", [{"a": livedb.Int64(2**53 + 1)}])],
        [("insert", [{"a": 1.5}]), ("load", [{"a": livedb.Int64(2**53 + 1)}, {"a": 0.5}])],
        [("insert", [{"a": livedb.Int64(2**53 + 1)}]), ("load", [{"a": 1.5}])],
        [("load", [{"a": livedb.Int64(2**63 - 1)}, {"a": float("nan")}])],
        [
            ("load", [{"a": livedb.Int64(2**63 - 1)}]),
            ("load", [{"a": livedb.Int64(1)}, {"a": "x"}]),
        ],
    ],
)
def test_a_loaded_number_that_its_column_would_round_is_shown_as_json(
    workspace: livedb.Database, program: list[tuple[str, Any]]
) -> None:
    run(workspace, program)
