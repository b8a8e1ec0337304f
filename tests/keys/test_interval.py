from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.keys.interval import EVERYTHING, Interval, IntervalSet

# Few, short keys: every way two intervals can lie comes up often.
KEYS = [b"", *(bytes([first]) + rest for first in range(4) for rest in (b"", b"\x00", b"\xff"))]
keys = st.sampled_from(KEYS)
intervals = st.builds(Interval, keys, keys | st.none())


def keys_in(interval):
    return {key for key in KEYS if interval.contains(key)}


def test_an_interval_is_half_open():
    interval = Interval(b"a", b"c")
    assert interval.contains(b"a")
    assert interval.contains(b"b\xff")
    assert not interval.contains(b"c")
    assert Interval(b"a", None).contains(b"\xff\xff")
    assert EVERYTHING.contains(b"")


@pytest.mark.parametrize("upper", [b"", b"a"])
def test_an_interval_that_ends_at_its_start_is_empty(upper):
    interval = Interval(b"a", upper)
    assert interval.is_empty
    assert not interval.contains(b"a")
    assert not interval.overlaps(EVERYTHING)
    assert not EVERYTHING.overlaps(interval)


@given(intervals, intervals)
def test_intervals_overlap_when_a_key_lies_in_both(left, right):
    # The larger of the two lower bounds lies in both, if any key does.
    expected = any(left.contains(key) and right.contains(key) for key in (left.lower, right.lower))
    assert left.overlaps(right) == right.overlaps(left) == expected


@given(st.lists(intervals, max_size=12), intervals)
def test_a_set_holds_the_keys_of_its_intervals(added, probe):
    interval_set = IntervalSet()
    for count, interval in enumerate(added, start=1):
        interval_set.add(interval)
        interval_set._check()
        for key in KEYS:
            assert interval_set.contains(key) == any(i.contains(key) for i in added[:count])
    assert interval_set.overlaps(probe) == any(i.overlaps(probe) for i in added)
    assert {key for i in interval_set for key in keys_in(i)} == {
        key for i in added for key in keys_in(i)
    }


def test_intervals_that_touch_become_one():
    interval_set = IntervalSet()
    for lower, upper in ((b"a", b"b"), (b"c", b"d"), (b"b", b"c")):
        interval_set.add(Interval(lower, upper))
    assert list(interval_set) == [(b"a", b"d")]
    assert len(interval_set) == 1
    interval_set.add(Interval(b"", None))
    assert list(interval_set) == [EVERYTHING]
    assert repr(interval_set).startswith("IntervalSet([Interval")
