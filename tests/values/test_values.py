from __future__ import annotations

import copy
import math
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given

from livedb.errors import InvalidValueError
from livedb.testing import strategies
from livedb.values import UNSET, Document, Int64, Missing, datetime_of, milliseconds_of, same_value


class TestInt64:
    def test_it_shows_its_type_and_prints_as_a_number(self):
        assert repr(Int64(3)) == "Int64(3)"
        assert str(Int64(-3)) == f"{Int64(-3)}" == "-3"

    def test_arithmetic_gives_a_plain_int(self):
        assert type(Int64(3) + 1) is int
        assert type(-Int64(3)) is int

    def test_its_range_is_64_bits(self):
        assert Int64(-(2**63)) == -(2**63)
        assert Int64(2**63 - 1) == 2**63 - 1
        for number in (2**63, -(2**63) - 1):
            with pytest.raises(InvalidValueError, match="64-bit"):
                Int64(number)

    @pytest.mark.parametrize("value", [True, 3.0, "3", None])
    def test_nothing_but_a_whole_number_becomes_one(self, value):
        with pytest.raises(TypeError):
            Int64(value)

    def test_it_survives_pickle_and_copy(self):
        for again in (pickle.loads(pickle.dumps(Int64(7))), copy.deepcopy(Int64(7))):
            assert type(again) is Int64
            assert again == 7

    def test_it_takes_numpy_integers(self):
        assert same_value(Int64(np.int64(7)), Int64(7))


class TestUnset:
    def test_there_is_one_and_it_is_false(self):
        assert not UNSET
        assert repr(UNSET) == "UNSET"
        assert pickle.loads(pickle.dumps(UNSET)) is UNSET
        assert copy.deepcopy(UNSET) is UNSET

    def test_its_type_works_in_an_annotation(self):
        assert (str | Missing).__args__ == (str, Missing)


class TestDocument:
    document = Document({"title": "x", "_id": "i", "a b": 1, "items": 2})

    def test_fields_are_attributes(self):
        assert self.document.title == "x"
        assert self.document._id == "i"
        assert getattr(self.document, "a b") == 1

    def test_a_method_of_dict_wins_over_a_field(self):
        assert callable(self.document.items)
        assert self.document["items"] == 2

    def test_a_missing_field_suggests_a_near_one(self):
        with pytest.raises(AttributeError, match="did you mean 'title'"):
            self.document.titel  # noqa: B018
        assert not hasattr(self.document, "other")

    def test_setting_or_deleting_one_names_patch(self):
        with pytest.raises(AttributeError, match=r"setting 'title'.*ctx\.db\.patch"):
            self.document.title = "y"
        with pytest.raises(AttributeError, match=r"deleting 'title'.*ctx\.db\.patch.*UNSET"):
            del self.document.title

    @pytest.mark.parametrize(
        "copied", [dict, copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))]
    )
    def test_copies_and_pickles_are_plain_dicts(self, copied):
        again = copied(self.document)
        assert type(again) is dict
        assert again == self.document

    def test_completion_offers_the_fields(self):
        assert "title" in dir(self.document)
        assert "a b" not in dir(self.document)


class TestSameValue:
    @pytest.mark.parametrize(
        "left, right",
        [
            (1, 1.0),
            (1, True),
            (0, False),
            (1, Int64(1)),
            (0.0, -0.0),
            ("1", 1),
            (b"a", "a"),
            ([1], [1.0]),
            ({"x": True}, {"x": 1}),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
            ({"a": None}, {}),
            ([1, 2], [1]),
        ],
    )
    def test_it_tells_apart_what_equals_does_not(self, left, right):
        assert not same_value(left, right)
        assert not same_value(right, left)

    def test_nan_is_itself_and_a_document_is_its_dict(self):
        assert same_value([math.nan], [math.nan])
        assert same_value(Document(a=1), {"a": 1})
        assert not same_value(Document(a=1), [("a", 1)])


class TestMilliseconds:
    @given(strategies.datetimes().filter(lambda moment: 1700 < moment.year < 2240))
    def test_the_present_centuries_come_back_to_the_microsecond(self, moment):
        assert datetime_of(milliseconds_of(moment)) == moment

    @pytest.mark.parametrize("milliseconds", [math.nan, math.inf, 1e300, -1e15])
    def test_a_number_that_is_no_date_is_refused(self, milliseconds):
        with pytest.raises(InvalidValueError):
            datetime_of(milliseconds)


def test_values_need_neither_numpy_nor_pandas():
    # In a fresh interpreter: this one has imported them already.
    import subprocess

    code = (
        "import sys, livedb.canonical, livedb.text, livedb.ids, livedb.keys.encoding;"
        "print([n for n in ('numpy', 'pandas', 'pyarrow', 'duckdb') if n in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
