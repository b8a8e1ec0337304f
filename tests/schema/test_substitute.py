"""One part of a validator exchanged for another."""

from __future__ import annotations

import pytest

from livedb.schema.namespace import v
from livedb.schema.substitute import substitute

OLD, NEW = v.object({"_id": v.id("t"), "n": v.integer()}), v.object({"_id": v.id("t")})
OTHER = v.object({"n": v.integer()})


@pytest.mark.parametrize(
    "around",
    [
        lambda part: part,
        lambda part: part.optional(),
        v.array,
        v.nullable,
        lambda part: v.record(v.string(), part),
        lambda part: v.object({"a": part.optional(), "b": v.array(v.union(part, v.string()))}),
    ],
)
def test_a_part_is_exchanged_wherever_it_stands(around):
    assert substitute(around(OLD), OLD, NEW) == around(NEW)
    untouched = around(OTHER)
    assert substitute(untouched, OLD, NEW) is untouched
