from __future__ import annotations

import enum
import math
import struct
import types
from collections import OrderedDict, UserDict
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.canonical import canonical, prepare_fields
from livedb.errors import InvalidValueError
from livedb.ids import Id
from livedb.limits import DOCUMENT_BYTES_MAX, INT_SAFE_MAX
from livedb.sizes import measure, size_of
from livedb.testing import strategies
from livedb.values import UNSET, Document, same_value


class Colour(enum.Enum):
    RED = "red"
    CODES = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Name(enum.StrEnum):
    TITLE = "title"


class LoudText(str):
    __slots__ = ()

    def __str__(self):
        return "LOUD"


class LoudInt(int):
    def __int__(self):
        return 99


class Point(NamedTuple):
    x: int
    y: int


def nested(levels, leaf=1):
    value = leaf
    for _ in range(levels):
        value = [value]
    return value


def refused(value, **options):
    with pytest.raises(InvalidValueError) as caught:
        canonical(value, **options)
    return caught.value


class TestCanonical:
    @given(strategies.values())
    def test_a_canonical_value_stays_itself(self, value):
        again = canonical(value)
        assert same_value(again, value)

    @given(strategies.values())
    def test_no_container_is_shared_with_the_original(self, value):
        def containers(item):
            if isinstance(item, (list, dict)):
                yield id(item)
                for inner in item.values() if isinstance(item, dict) else item:
                    yield from containers(inner)

        assert not set(containers(value)) & set(containers(canonical(value)))

    @pytest.mark.parametrize(
        "given_value, expected",
        [
            ((1, 2), [1, 2]),
            (Point(1, 2), [1, 2]),
            (OrderedDict(a=1), {"a": 1}),
            (UserDict(a=1), {"a": 1}),
            (types.MappingProxyType({"a": 1}), {"a": 1}),
            (Document(a=1), {"a": 1}),
            ({Name.TITLE: Name.TITLE}, {"title": "title"}),
            (Colour.RED, "red"),
            (Colour.CODES, [1, 2]),
            (Level.HIGH, 3),
            (LoudText("quiet"), "quiet"),
            (LoudInt(3), 3),
            (Id("abc"), "abc"),
            (bytearray(b"x"), b"x"),
            pytest.param(memoryview(b"x"), b"x", id="memoryview"),
            (Decimal(3), 3),
            (Decimal("3.0"), 3.0),
            (Decimal("0.5"), 0.5),
            (Decimal("-0"), -0.0),
            (Decimal("Infinity"), math.inf),
            (Decimal("NaN"), math.nan),
            (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
            (
                datetime(2026, 1, 31, 1, tzinfo=timezone(timedelta(hours=1))),
                datetime(2026, 1, 31, tzinfo=UTC),
            ),
            (datetime(2026, 1, 31, tzinfo=ZoneInfo("UTC")), datetime(2026, 1, 31, tzinfo=UTC)),
            (np.bool_(True), True),
            (np.int8(-3), -3),
            (np.uint64(3), 3),
            (np.float32(0.5), 0.5),
            (np.float64(0.1), 0.1),
            (np.float16("inf"), math.inf),
            (np.longdouble(0.5), 0.5),
            (np.str_("x"), "x"),
            (np.bytes_(b"x"), b"x"),
            (np.datetime64("NaT"), None),
            (np.array(3), 3),
            (pd.NA, None),
            (pd.NaT, None),
            (pd.Timestamp("2026-01-31T01:00+01:00"), datetime(2026, 1, 31, tzinfo=UTC)),
        ],
        ids=repr,
    )
    def test_what_has_one_exact_equal_is_converted(self, given_value, expected):
        assert same_value(canonical(given_value), expected)
        fields, _, _ = prepare_fields({"x": given_value})
        assert same_value(fields, {"x": expected})

    @pytest.mark.parametrize(
        "value, reason",
        [
            (INT_SAFE_MAX + 1, "Int64"),
            (-INT_SAFE_MAX - 1, "Int64"),
            (10**5000, "bits"),
            (np.int64(2**53 + 1), "Int64"),
            (np.uint64(2**64 - 1), "use str"),
            (LoudInt(2**60), "Int64"),
            ("\ud800", "surrogate"),
            ("a\udfff", "surrogate"),
            (datetime(2026, 1, 1), "time zone"),
            (np.datetime64("2026-01-01"), "time zone"),
            (np.timedelta64(1, "s"), "seconds"),
            (pd.Timestamp("2026-01-01"), "time zone"),
            (pd.Timestamp("2026-01-01T00:00:00.000000001Z"), "nanoseconds"),
            (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "years"),
            (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "years"),
            (Decimal("0.1"), "exact"),
            (Decimal(2**53 + 1), "Int64"),
            (Decimal("1e400"), "exact"),
            (Decimal("sNaN"), "signaling"),
            (np.longdouble(1) + np.finfo(np.longdouble).eps, "exact"),
            (np.complex128(1), "supported"),
            (np.array([1]), "tolist"),
            (pd.Series([1]), "supported"),
            (pd.Timedelta(1), "supported"),
            ({1, 2}, "sorted list"),
            (1j, "supported"),
            (object(), "supported"),
            (UUID(int=1), "supported"),
            (timedelta(1), "supported"),
            (math, "supported"),
            (int, "supported"),
            (range(3), "supported"),
            (iter([]), "supported"),
            (UNSET, "UNSET"),
            ([UNSET], "UNSET"),
            ({1: 2}, "not a string"),
            ({"$a": 1}, "reserved"),
            ({"é": 1}, "invalid character"),
            ({"a\n": 1}, "invalid character"),
            ({"a\x7f": 1}, "invalid character"),
            ({"k" * 1025: 1}, "1025"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_has_none_is_refused(self, value, reason):
        assert reason in str(refused(value))
        with pytest.raises(InvalidValueError, match=r"\.x"):
            prepare_fields({"x": [value]})

    def test_a_refusal_says_where(self):
        error = refused({"tags": [1, {"a b": {3}}]}, path="args")
        assert error.path == "args.tags[1]['a b']"
        assert error.path in str(error)

    def test_a_broken_repr_does_not_break_the_refusal(self):
        class Broken:
            def __repr__(self):
                raise ValueError

        assert "Broken" in str(refused([Broken()]))

    def test_unset_fields_are_left_out_when_allowed(self):
        value = {"a": UNSET, "b": {"c": UNSET}, "d": 1}
        assert canonical(value, allow_unset=True) == {"b": {}, "d": 1}
        assert canonical(UNSET, allow_unset=True) is UNSET
        assert refused([UNSET], allow_unset=True).path == "[0]"
        assert refused(value).path == ".a"

    def test_nesting_is_bounded(self):
        assert canonical(nested(64)) == nested(64)
        assert refused(nested(65)).code == "TooNestedError"
        assert canonical(nested(3), nesting_max=3) == nested(3)
        assert refused(nested(4), nesting_max=3).code == "TooNestedError"

    def test_a_value_that_contains_itself_is_refused(self):
        endless = {}
        endless["me"] = [endless]
        assert refused(endless).code == "TooNestedError"
        assert refused(nested(100_000)).code == "TooNestedError"

    def test_arrays_and_objects_are_bounded(self):
        assert len(canonical([0] * 8192)) == 8192
        assert refused([0] * 8193).code == "ArrayTooLong"
        assert len(canonical({str(n): 0 for n in range(1024)})) == 1024
        assert refused({str(n): 0 for n in range(1025)}).code == "TooManyFieldsError"

    def test_a_nan_is_the_one_nan(self):
        odd = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]
        plain = struct.pack(">d", math.nan)
        assert struct.pack(">d", canonical(odd)) == plain
        assert struct.pack(">d", prepare_fields({"x": odd})[0]["x"]) == plain
        assert struct.pack(">d", canonical([np.float32(math.nan)])[0]) == plain

    @given(
        st.lists(strategies.numbers().filter(lambda n: type(n) is int))
        | st.lists(strategies.numbers().filter(lambda n: type(n) is float))
        | st.lists(strategies.texts())
    )
    def test_a_run_of_one_type_is_examined_like_its_items(self, items):
        assert same_value(canonical(items), [canonical(item) for item in items])
        measured = [measure(item) for item in items]
        assert measure(items) == (2 + sum(m[0] for m in measured), all(m[1] for m in measured))

    @pytest.mark.parametrize(
        "items", [[1, 2**53 + 1], [-(2**53) - 1, 1], [1] * 9 + [10**400], ["a", "\ud800"]]
    )
    def test_one_bad_item_in_a_run_is_found(self, items):
        assert refused(items).path.startswith("[")

    def test_a_zone_without_an_offset_is_naive(self):
        class Nowhere(tzinfo):
            def utcoffset(self, _moment):
                return None

        assert "time zone" in str(refused(datetime(2026, 1, 1, tzinfo=Nowhere())))

    def test_the_fold_of_a_moment_is_resolved(self):
        berlin = ZoneInfo("Europe/Berlin")
        later = datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=1)
        assert canonical(later).isoformat() == "2026-10-25T01:30:00+00:00"
        assert canonical(datetime(2026, 1, 1, tzinfo=UTC, fold=1)).fold == 0

    def test_more_names_than_the_cache_holds_are_still_examined(self):
        for number in range(25):
            fields = {f"many{number}x{n}": n for n in range(1000)}
            assert canonical(fields) == fields
        assert refused({"$many": 1})


class TestPrepareFields:
    @given(strategies.documents() | strategies.hostile_documents())
    def test_it_is_canonical_and_measure_in_one(self, fields):
        prepared, size, is_plain = prepare_fields(fields)
        assert same_value(prepared, canonical(fields))
        assert (size, is_plain) == measure(prepared)

    @pytest.mark.parametrize(
        "name, code",
        [
            ("_id", "InvalidIdError"),
            ("_creationTime", "InvalidCreationTimeError"),
            ("_other", "InvalidValue"),
            ("_", "InvalidValue"),
        ],
    )
    def test_system_fields_are_refused(self, name, code):
        with pytest.raises(InvalidValueError) as caught:
            prepare_fields({"a": 1, name: 1})
        assert caught.value.code == code
        # Nested, only the names are the user's own.
        assert prepare_fields({"a": {name: 1}})[0] == {"a": {name: 1}}

    def test_unset_fields_are_left_out(self):
        assert prepare_fields({"a": UNSET, "b": 1})[0] == {"b": 1}

    @pytest.mark.parametrize("fields", [None, [], "ab", 3, [("a", 1)]])
    def test_a_document_is_a_dict(self, fields):
        with pytest.raises(InvalidValueError, match="dict of fields"):
            prepare_fields(fields)

    def test_a_document_nests_sixteen_levels_itself_included(self):
        assert prepare_fields({"x": nested(15)})
        with pytest.raises(InvalidValueError) as caught:
            prepare_fields({"x": nested(16)})
        assert caught.value.code == "TooNestedError"

    def test_a_document_is_bounded_in_bytes_and_fields(self):
        room = DOCUMENT_BYTES_MAX - size_of({"x": ""})
        assert prepare_fields({"x": "a" * room})[1] == DOCUMENT_BYTES_MAX
        with pytest.raises(InvalidValueError, match="too large"):
            prepare_fields({"x": "a" * (room + 1)})
        with pytest.raises(InvalidValueError) as caught:
            prepare_fields({f"f{n}": n for n in range(1025)})
        assert caught.value.code == "TooManyFieldsError"
