from __future__ import annotations

import pytest

from livedb.notebook.rows import state_of_value


@pytest.mark.parametrize(
    "value,shape,rows",
    [
        (7, "value", [{"value": 7}]),
        (None, "value", [{"value": None}]),
        (b"\x00", "value", [{"value": b"\x00"}]),
        (2**70, "value", [{"value": str(2**70)}]),
        ([], "rows", []),
        ([1, "a", None], "rows", [{"value": "1"}, {"value": "a"}, {"value": None}]),
        (
            {"n": 1, "ok": True, "tags": ["a"]},
            "record",
            [
                {"field": "n", "value": "1"},
                {"field": "ok", "value": "true"},
                {"field": "tags", "value": '["a"]'},
            ],
        ),
    ],
    ids=repr,
)
def test_a_value_that_is_no_table_becomes_rows(value, shape, rows):
    state = state_of_value(value, number=3)
    assert (state.shape, state.row_count, state.number) == (shape, len(rows), 3)
    assert state.window(0, state.row_count).to_pylist() == rows
