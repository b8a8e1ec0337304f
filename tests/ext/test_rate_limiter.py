"""Rate limits: what gets through, what is told of the rest, and that nothing is consumed twice."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import livedb
from livedb.errors import InvalidValueError
from livedb.ext import rate_limiter
from livedb.ext.rate_limiter import Allowance, fixed_window, token_bucket

NOW_S = 1_000_000.0


class Asker:
    """Asks the pure decision, keeping the state as the documents do."""

    def __init__(self, limit):
        self.rule = limit
        self.state = None

    def __call__(self, now_s, count=1, *, reserve=False):
        allowance, state = self.rule.decide(self.state, now_s, count=count, reserve=reserve)
        if allowance.ok:
            self.state = state
        return allowance


def test_a_token_bucket_gives_its_capacity_at_once_and_then_its_rate():
    ask = Asker(token_bucket("b", rate=6, period=60, capacity=2))
    assert [ask(NOW_S).ok for _ in range(3)] == [True, True, False]
    assert ask(NOW_S) == Allowance(ok=False, retry_after=10.0)
    assert ask(NOW_S + 4) == Allowance(ok=False, retry_after=6.0)
    assert ask(NOW_S + 10).ok
    assert not ask(NOW_S + 10).ok
    # What is saved up never passes the capacity.
    assert [ask(NOW_S + 9999).ok for _ in range(3)] == [True, True, False]


def test_a_fixed_window_gives_all_back_when_the_next_begins():
    ask = Asker(fixed_window("w", rate=2, period=60))
    start = NOW_S - NOW_S % 60
    assert [ask(start + 10).ok for _ in range(3)] == [True, True, False]
    assert ask(start + 15) == Allowance(ok=False, retry_after=45.0)
    assert not ask(start + 59.9).ok
    assert [ask(start + 60).ok for _ in range(3)] == [True, True, False]
    assert [ask(start + 300).ok for _ in range(3)] == [True, True, False]


def test_windows_begin_where_they_are_told_and_save_up_to_their_capacity():
    ask = Asker(fixed_window("w", rate=1, period=100, capacity=3, start=NOW_S + 7))
    assert [ask(NOW_S + 8).ok for _ in range(4)] == [True, True, True, False]
    assert ask(NOW_S + 8).retry_after == pytest.approx(99)
    assert [ask(NOW_S + 208).ok for _ in range(3)] == [True, True, False]


def test_a_reservation_may_go_below_nothing_and_says_how_long_to_wait():
    ask = Asker(token_bucket("b", rate=1, period=1, capacity=2, max_reserved=3))
    assert ask(NOW_S, 2) == Allowance(ok=True, retry_after=0.0)
    assert ask(NOW_S, 2, reserve=True) == Allowance(ok=True, retry_after=2.0)
    assert ask(NOW_S, 1, reserve=True) == Allowance(ok=True, retry_after=3.0)
    assert ask(NOW_S, 1, reserve=True) == Allowance(ok=False, retry_after=1.0)
    assert ask(NOW_S, 1) == Allowance(ok=False, retry_after=4.0)


@given(
    limit=st.sampled_from(
        [
            token_bucket("b", rate=7, period=3, capacity=4),
            token_bucket("b", rate=0.1, period=60),
            fixed_window("w", rate=3, period=7, capacity=5),
        ]
    ),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 3), st.booleans()), max_size=30),
)
def test_asking_again_after_retry_after_succeeds_and_no_more_get_through_than_may(limit, steps):
    if limit.capacity < 3:
        limit = limit._replace(capacity=3, max_reserved=3)
    ask = Asker(limit)
    now_s, let_through = NOW_S, 0
    for wait_s, count, reserve in steps:
        now_s += wait_s
        allowance = ask(now_s, count, reserve=reserve)
        if not allowance.ok:
            assert allowance.retry_after > 0
            again, _ = limit.decide(
                ask.state, now_s + allowance.retry_after, count=count, reserve=reserve
            )
            assert again.ok
        let_through += count * allowance.ok
        periods = (now_s - NOW_S) / limit.period + (limit.kind == "fixed window")
        most = limit.capacity + limit.max_reserved + limit.rate * periods
        assert let_through <= most * (1 + 1e-6)


def test_a_clock_that_was_ahead_for_a_while_does_not_lock_anybody_out():
    for limit in (token_bucket("b", rate=1, period=60), fixed_window("w", rate=1, period=60)):
        ask = Asker(limit)
        assert ask(NOW_S + 1e8).ok
        refused = ask(NOW_S)
        assert not refused.ok
        assert refused.retry_after <= 60


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 0, "period": 1}, {"rate": 1, "period": 0}, {"rate": -1, "period": 1},
        {"rate": 1, "period": float("nan")}, {"rate": float("inf"), "period": 1},
        {"rate": 1, "period": 1, "capacity": 0}, {"rate": 1, "period": 1, "max_reserved": -1},
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [token_bucket, fixed_window])
def test_limits_that_mean_nothing_are_refused(make, options):
    with pytest.raises(livedb.InvalidValueError, match="'x'"):
        make("x", **options)


# -- on a workspace --------------------------------------------------------------------------------


def test_keys_are_apart_what_is_refused_consumes_nothing_and_a_query_looks(db):
    db.push(rate_limiter)
    limit = token_bucket("send", rate=1, period=3600, capacity=2)

    @db.mutation
    def send(ctx, key: str, *, fails: bool = False):
        allowed = limit.limit(ctx, key)
        if fails:
            raise livedb.ApplicationError("no")
        return allowed.ok

    @db.query
    def left(ctx, key: str):
        return [round(limit.value(ctx, key)), limit.check(ctx, key).ok]

    @db.mutation
    def forgive(ctx, key: str):
        limit.reset(ctx, key)

    with pytest.raises(livedb.ApplicationError):
        send(key="ana", fails=True)
    assert left(key="ana") == [2, True]
    assert [send(key="ana") for _ in range(3)] == [True, True, False]
    assert send(key="ben")
    assert left(key="ana") == [0, False]
    forgive(key="ana")
    assert left(key="ana") == [2, True]


def test_require_raises_what_convex_raises(db):
    db.push(rate_limiter)
    limit = fixed_window("login", rate=1, period=3600)

    @db.mutation
    def log_in(ctx):
        return limit.require(ctx, "ana").ok

    assert log_in()
    with pytest.raises(livedb.ApplicationError) as refused:
        log_in()
    data = refused.value.data
    assert (data["kind"], data["name"]) == ("RateLimited", "login")
    assert 0 < data["retryAfter"] <= 3_600_000


@pytest.mark.parametrize("count", [0, -1, 3, float("nan")])
def test_a_count_that_could_never_be_there_is_an_error(memory, count):
    memory.push(rate_limiter)
    limit = token_bucket("send", rate=1, period=1, capacity=2)

    @memory.mutation
    def send(ctx, count: float):
        return limit.limit(ctx, count=count).ok

    with pytest.raises(livedb.InvalidValueError, match="never lets"):
        send(count=count)


@pytest.mark.parametrize("verb", ["limit", "require", "check", "value", "reset"])
def test_a_key_that_is_no_text_is_refused(memory, verb):
    """Who is not logged in has None for an id, which is not everybody's key."""
    memory.push(rate_limiter)
    limit = token_bucket("send", rate=1, period=1)

    @memory.mutation
    def ask(ctx):
        getattr(limit, verb)(ctx, None)

    with pytest.raises(livedb.InvalidValueError, match="for each key, which is a text, not None"):
        ask()


@pytest.mark.local("threads in the process that has the workspace")
def test_no_more_get_through_than_may_however_many_ask_at_once(memory):
    memory.push(rate_limiter)
    limit = token_bucket("send", rate=1, period=1e9, capacity=25)

    @memory.mutation
    def send(ctx):
        return limit.limit(ctx, "ana").ok

    through = []

    def ask():
        through.extend(send() for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert through.count(True) == 25
    assert len(through) == 80


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_rate_limit_has_a_name(name):
    with pytest.raises(InvalidValueError, match="a text for a name"):
        token_bucket(name, rate=1, period=1)


@pytest.mark.parametrize("count", ["x", None, float("nan"), True, 0])
def test_only_a_number_above_0_is_let_through(count):
    limit = token_bucket("calls", rate=1, period=1)
    with pytest.raises(InvalidValueError, match="never lets"):
        limit.decide(None, 0.0, count=count, reserve=False)
