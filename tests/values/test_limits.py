"""A setting that cannot be meant is refused where it is written, by its name."""

from __future__ import annotations

import dataclasses
import math

import pytest

from livedb.errors import InvalidValueError
from livedb.limits import Limits

NAMES = [field.name for field in dataclasses.fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, True, "1", 1j])
def test_what_no_setting_can_be_is_refused_by_name(name, value):
    with pytest.raises(InvalidValueError, match=rf"^Limits\({name}=") as caught:
        Limits(**{name: value})
    assert (caught.value.path, caught.value.code) == (f".{name}", "InvalidLimit")


def test_none_is_no_limit_only_where_that_is_the_default():
    allowed = set()
    for name in NAMES:
        try:
            Limits(**{name: None})
        except InvalidValueError:
            continue
        allowed.add(name)
    assert allowed == {"action_s_max", "function_s_max", "sql_s_max"}


@pytest.mark.parametrize(
    "setting, said",
    [
        ({"documents_read_max": 1e6}, "whole number such as 1_000_000, and 1000000.0 is none"),
        ({"documents_read_max": 0}, "must be more than 0, and 0 was given; the default is 32000"),
        ({"cache_entries_max": -1}, "must not be negative, and -1 was given"),
        ({"function_s_max": "1"}, "finite number or None for no limit, and '1' is none"),
        ({"log_deadline_s": 1e10}, "at most 1,000,000,000 seconds"),
    ],
)
def test_the_refusal_says_what_the_setting_takes(setting, said):
    with pytest.raises(InvalidValueError) as caught:
        Limits(**setting)
    assert said in str(caught.value)


def test_zero_is_taken_where_it_means_something():
    assert Limits(cache_entries_max=0, conflict_retries_max=0, fold_idle_s=0).fold_idle_s == 0
