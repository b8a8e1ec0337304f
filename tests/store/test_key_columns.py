from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from livedb.keys.index_key import index_key, split_path
from livedb.store.key_columns import declared_keys
from livedb.text import encode_fields
from livedb.values import Int64

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
def test_keys_made_at_once_are_those_made_one_by_one(documents, fields):
    paths = [split_path(field) for field in fields]
    expected = [index_key(document, paths, b"") for document in documents]
    assert declared_keys(*packed(documents), fields).to_pylist() == expected


@given(st.lists(st.floats() | st.integers(-(2**53), 2**53), min_size=1))
def test_a_column_of_numbers_is_encoded_at_once(numbers):
    documents = [{"n": number} for number in numbers]
    expected = [index_key(document, [("n",)], b"") for document in documents]
    assert declared_keys(*packed(documents), ["n"]).to_pylist() == expected
