"""When a cron is due, as pure functions: the clock, the spread, what was missed."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from livedb.errors import InvalidValueError
from livedb.functions import schedules
from livedb.functions.schedules import Schedule


def ms(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000


def shown(time_ms: float) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


NOON = ms("2026-03-02T12:00:00")  # a Monday


@pytest.mark.parametrize(
    "schedule,expected",
    [
        (schedules.hourly(30), "2026-03-02 12:30"),
        (schedules.daily(2, 5), "2026-03-03 02:05"),
        (schedules.weekly("wednesday", 9, 0), "2026-03-04 09:00"),
        (schedules.weekly("sunday", 9, 0), "2026-03-08 09:00"),
        (schedules.monthly(1, 0, 15), "2026-04-01 00:15"),
        (schedules.cron("*/20 13 * * *"), "2026-03-02 13:00"),
        (schedules.cron("0 0 29 2 *"), "2028-02-29 00:00"),
    ],
)
def test_a_time_of_the_clock_is_the_next_in_utc_within_its_minute(schedule, expected):
    due = schedule.first_ms("clean up", NOON)
    assert shown(due) == expected
    assert due % 1000 == 0
    assert schedule.next_ms("clean up", due) > due + 59_000


def test_a_day_that_a_month_does_not_have_is_left_out():
    due = schedules.monthly(31, 0, 0).next_ms("m", ms("2026-03-31T00:01:00"))
    assert shown(due) == "2026-05-31 00:00"


def test_the_spread_is_stable_and_within_the_minute_or_without_one_the_hour():
    for name in map(str, range(200)):
        with_minute = schedules.daily(2, 10)
        assert 0 <= with_minute.first_ms(name, NOON) - ms("2026-03-03T02:10:00") < 60_000
        without = schedules.daily(2).first_ms(name, NOON)
        assert 0 <= without - ms("2026-03-03T02:00:00") < 3_600_000
        assert schedules.daily(2).first_ms(name, NOON + 5) == without
        crontab = schedules.cron("10 2 * * *")
        assert crontab.first_ms(name, NOON) == with_minute.first_ms(name, NOON)
    assert len({schedules.hourly().first_ms(str(n), NOON) for n in range(200)}) > 150


def test_every_time_is_given_once_whatever_the_spread():
    for name in ("a", "b", "c"):
        schedule, at = schedules.hourly(), NOON
        times = [at := schedule.next_ms(name, at) for _ in range(50)]
        assert {b - a for a, b in itertools.pairwise(times)} == {3_600_000.0}


def test_an_interval_begins_at_once_and_is_anchored():
    schedule = schedules.interval(minutes=5)
    assert schedule.first_ms("x", NOON) == NOON
    assert schedule.next_ms("x", NOON) == NOON + 300_000
    # It ran late and ended late: the following times are those of the anchor.
    assert schedule.skip_ms("x", NOON, NOON + 310_000) == (NOON + 600_000, 1)
    assert schedule.skip_ms("x", NOON, NOON + 10) == (NOON + 300_000, 0)
    assert schedule.skip_ms("x", NOON, NOON + 300_000) == (NOON + 300_000, 0)


def test_missed_times_are_counted_up_to_a_bound():
    schedule = schedules.hourly(0)
    slot = schedule.first_ms("x", NOON)
    assert schedule.skip_ms("x", slot, slot + 3.5 * 3_600_000) == (slot + 4 * 3_600_000, 3)
    minutely = schedules.cron("* * * * *")
    slot = minutely.first_ms("x", NOON)
    later = slot + 100_000 * 60_000
    assert minutely.skip_ms("x", slot, later - 1) == (later, 1_000)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.interval(hours=2),
        schedules.hourly(),
        schedules.hourly(59),
        schedules.daily(23),
        schedules.weekly("friday", 1, 2),
        schedules.monthly(31, 4),
        schedules.cron("0 9 * * MON"),
    ],
)
def test_a_schedule_comes_back_from_its_document(schedule):
    assert Schedule.of_document(schedule.to_document()) == schedule


def test_a_number_of_the_wire_is_an_hour():
    """Those of a page's call come as floats."""
    assert schedules.monthly(1.0, 9.0, 30.0).shown == schedules.monthly(1, 9, 30).shown
    assert str(schedules.daily(9.0, 30.0)) == str(schedules.daily(9, 30))


@pytest.mark.parametrize(
    "make,why",
    [
        (schedules.interval, "one of seconds="),
        (lambda: schedules.interval(seconds=1, hours=1), "one of seconds="),
        (lambda: schedules.interval(seconds=0), "at least 1 second"),
        (lambda: schedules.interval(seconds=float("nan")), "at least 1 second"),
        (lambda: schedules.interval(seconds="5"), "is a number"),
        (lambda: schedules.hourly(60), "from 0 to 59"),
        (lambda: schedules.daily(24), "from 0 to 23"),
        (lambda: schedules.daily(True), "from 0 to 23"),
        (lambda: schedules.weekly("Monday", 1), "one of sunday"),
        (lambda: schedules.monthly(0, 1), "from 1 to 31"),
        (lambda: schedules.cron("* * * *"), "five fields"),
        (lambda: schedules.cron("* * * * * *"), "five fields"),
        (lambda: schedules.cron("61 * * * *"), "not understood"),
        (lambda: schedules.cron("0 0 30 2 *"), "never due"),
        (lambda: schedules.cron("0 0 30 14 *"), "not understood"),
        (lambda: schedules.cron(7), "five fields"),
        (lambda: schedules.check_name(""), "printable ASCII"),
        (lambda: schedules.check_name("café"), "printable ASCII"),
        (lambda: schedules.check_name("a\nb"), "printable ASCII"),
        (lambda: Schedule.of_document({"kind": "yearly"}), "no schedule"),
    ],
)
def test_what_says_no_time_is_refused_with_the_reason(make, why):
    with pytest.raises(InvalidValueError, match=why) as caught:
        make()
    assert caught.value.code == "InvalidCron"
