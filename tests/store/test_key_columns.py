from __future__ import annotations

import math
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livedb.keys.encoding import encode_key
from livedb.keys.index_key import index_key, split_path
from livedb.schema.namespace import v
from livedb.store import key_columns
from livedb.store.key_columns import declared_keys, ranked
from livedb.text import encode_fields
from livedb.values import Int64
from tests.store.table_fixtures import TASKS, Folder, catalog_of, new_ids, open_store, write
from tests.thorough import examples

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats()
    | st.text(max_size=5).filter(lambda text: text.isprintable() or "\x00" in text)
    | st.sampled_from(["\n", "\x00", "\x01", "\u2028", Int64(5), b"\x00\n", math.nan, -0.0])
    | st.just(datetime(2024, 1, 1, tzinfo=UTC))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "a b", "column_0"]), VALUES))


def packed(documents):
    texts = [encode_fields(document) for document in documents]
    return b"".join(texts), np.cumsum([0, *map(len, texts)])


@given(
    documents=DOCUMENTS,
    fields=st.lists(
        st.sampled_from(["a", "b", "a.a", "a.b", "a.a.b", "a b", "column_0"]), min_size=1
    ),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_keys_made_at_once_are_those_made_one_by_one(documents, fields):
    paths = [split_path(field) for field in fields]
    expected = [index_key(document, paths, b"") for document in documents]
    assert declared_keys(*packed(documents), fields).to_pylist() == expected


@given(st.lists(st.floats() | st.integers(-(2**53), 2**53), min_size=1))
def test_a_column_of_numbers_is_encoded_at_once(numbers):
    documents = [{"n": number} for number in numbers]
    expected = [index_key(document, [("n",)], b"") for document in documents]
    assert declared_keys(*packed(documents), ["n"]).to_pylist() == expected


NUMBERS = st.sampled_from([0, 1, -3, 2**53, 0.0, -0.0, 2.5, 1e300, math.nan, math.inf, Int64(7)])
TEXTS = st.sampled_from(["", "a", "\x00", "é\U0001f600", "3", "null"])


@given(
    documents=st.lists(
        st.fixed_dictionaries(
            {}, optional={"a": TEXTS | NUMBERS, "b": NUMBERS | st.none(), "c": TEXTS, "a.b": TEXTS}
        ),
        max_size=8,
    ),
    kind=st.sampled_from([None, "string", "number", "integer", "any"]),
    splits=st.integers(1, 3),
)
@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_keys_made_from_columns_of_the_tables_are_those_of_the_documents(documents, kind, splits):
    """Whatever the columns can hold, and however the rows came there."""
    shape = None if kind is None else v.object({"a": getattr(v, kind)()})
    ids = new_ids(len(documents))
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder), in_memory=True)
        tasks = Folder(store, catalog_of(tasks=shape))
        tasks.fold([write(each, {"c": "x", "b": 1}) for each in new_ids(2)])
        for part in range(splits):
            tasks.fold(list(map(write, ids[part::splits], documents[part::splits])))
        with store.snapshot() as snapshot:
            loaded = snapshot.load_table(TASKS, {"a", "b", "c", "a.b"})
        store.close()
    texts = loaded.texts.to_pylist()
    offsets = np.cumsum([0, *map(len, texts)])
    for fields in (["a"], ["b"], ["c"], ["c", "b"], ["a", "c", "b"], ["a.b"], ["c", "d"]):
        from_documents = declared_keys(b"".join(texts), offsets, fields)
        from_columns = declared_keys(b"".join(texts), offsets, fields, loaded.columns)
        assert from_columns.to_pylist() == from_documents.to_pylist(), fields
    assert {"b", "c"} <= loaded.columns.keys()


def test_only_what_the_columns_do_not_say_is_decoded(monkeypatch):
    decoded = []
    make_keys = key_columns._Decoder.keys

    def count(decoder, texts, offsets):
        decoded.append(len(offsets) - 1)
        return make_keys(decoder, texts, offsets)

    monkeypatch.setattr(key_columns._Decoder, "keys", count)
    documents = [{"n": number, "t": "a"} for number in range(100)]
    documents[7] = {"n": 7}
    columns = {
        "n": pa.chunked_array([pa.array(range(40)), pa.array(range(40, 100))]),
        "t": pa.chunked_array([pa.array(["a" if n != 7 else None for n in range(100)])]),
    }
    keys = declared_keys(*packed(documents), ["n", "t"], columns)
    expected = [index_key(document, [("n",), ("t",)], b"") for document in documents]
    assert keys.to_pylist() == expected
    assert decoded == [2]  # a zero, whose sign a column may lose, and the document without "t"


@given(
    st.lists(
        st.one_of(st.text(max_size=3), st.binary(max_size=60), st.integers(-5, 5)).map(encode_key),
        min_size=1,
    )
)
def test_ranks_order_rows_as_their_keys(keys):
    columns = ranked(pa.array(keys, pa.large_binary()))
    rows = list(range(len(keys)))
    by_columns = sorted(rows, key=lambda row: [int(column[row]) for column in columns])
    assert by_columns == sorted(rows, key=lambda row: keys[row])
