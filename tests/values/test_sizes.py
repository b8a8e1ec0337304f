from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.canonical import prepare_fields
from livedb.sizes import measure, size_of, system_fields_size
from livedb.testing import strategies
from livedb.values import Int64


class TestSize:
    @given(strategies.documents(), st.text("0123456789abcdef", min_size=31, max_size=37))
    def test_system_fields_are_counted_apart(self, fields, document_id):
        document = {**fields, "_id": document_id, "_creationTime": 1.5}
        assert size_of(document) == size_of(fields) + system_fields_size(document_id)

    @pytest.mark.parametrize(
        "value", [b"", Int64(0), datetime(2026, 1, 1, tzinfo=UTC), math.nan, math.inf, -math.inf]
    )
    def test_what_json_cannot_hold_is_not_plain_at_any_depth(self, value):
        assert not measure(value)[1]
        assert not measure([{"a": [1, value]}])[1]
        assert not prepare_fields({"a": {"b": value}})[2]
