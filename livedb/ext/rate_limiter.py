"""Rate limits: token buckets and fixed windows, one for each key.

    from livedb.ext import rate_limiter

    db.push(rate_limiter)                       # or schema.py: {**rate_limiter.TABLES, ...}
    send = rate_limiter.token_bucket("send", rate=10, period=60, capacity=20)

    @db.mutation
    def send_message(ctx, user: Id[User], text: str):
        send.require(ctx, user)                 # raises; send.limit(ctx, user) tells instead
        ...

A limit is consumed in the transaction of the mutation that asks: when that raises, nothing was
consumed, and however many run at once, no more get through than may. What is consumed lies in one
document for each key, so calls with one key are in line with each other.

Source: the behaviour of Convex's component `rate-limiter`.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from livedb.errors import ApplicationError, InvalidValueError
from livedb.functions.context import MutationContext, QueryContext
from livedb.schema.namespace import v
from livedb.schema.tables import define_schema, define_table
from livedb.values import Document

TABLE = "rate_limits"

TABLES = {
    TABLE: define_table(
        {"name": v.string(), "key": v.string(), "value": v.number(), "at": v.number()}
    ).index("by_key", ["name", "key"], unique=True)
}
"""For a `schema.py`: `define_schema({**rate_limiter.TABLES, ...})`."""

schema = define_schema(TABLES)

CLOCK_STEP_S = 5.0
"""A state that is further ahead of the clock was written before the clock was set back, and its
time is taken for now; less is the difference between runs at the same time."""

_ROUNDING = 1e-9
"""Share of the capacity by which sums of floats may miss the exact value."""


class Allowance(NamedTuple):
    """What came of asking.

    Attributes:
        ok: whether it may be done.
        retry_after: seconds after which the same may be asked again; of what was reserved, after
            which it may be done. 0 when it may be done now.
    """

    ok: bool
    retry_after: float


class State(NamedTuple):
    """What a key has left, `value`, since `at`, in seconds since 1970 (of a window: its start)."""

    value: float
    at: float


class RateLimit(NamedTuple):
    """A limit; made by `token_bucket` and `fixed_window`.

    Attributes:
        name: under which its state is kept.
        kind: whether `rate` comes back evenly or at the end of each period.
        rate: how many may be done in a period.
        period: in seconds.
        capacity: how many can be saved up.
        max_reserved: how many may be reserved beyond what is there.
        start: of the windows, in seconds since 1970.
    """

    name: str
    kind: Literal["token bucket", "fixed window"]
    rate: float
    period: float
    capacity: float
    max_reserved: float
    start: float

    def limit(
        self, ctx: MutationContext, key: str = "", *, count: float = 1, reserve: bool = False
    ) -> Allowance:
        """Consume `count` of what `key` has, if it is there.

        Args:
            reserve: consume it even when it is not there yet, up to `max_reserved` beyond: then it
                may be done after `retry_after` seconds, for instance by a scheduled function,
                without asking again.

        Raises:
            InvalidValueError: `count` is more than could ever be there, or `key` no text.
        """
        now_s = ctx.now.timestamp()
        row = self._row(ctx, key)
        allowance, state = self.decide(_state_of(row), now_s, count=count, reserve=reserve)
        if allowance.ok:
            fields = {"value": state.value, "at": state.at}
            if row is None:
                ctx.db.insert(TABLE, {"name": self.name, "key": key, **fields})
            else:
                ctx.db.patch(row["_id"], fields)
        return allowance

    def require(
        self, ctx: MutationContext, key: str = "", *, count: float = 1, reserve: bool = False
    ) -> Allowance:
        """As `limit`, and raises when it may not be done.

        Raises:
            ApplicationError: `{"kind": "RateLimited", "name": .., "retryAfter": milliseconds}`, as
                Convex's component says it.
        """
        allowance = self.limit(ctx, key, count=count, reserve=reserve)
        if not allowance.ok:
            after_ms = math.ceil(allowance.retry_after * 1000)
            raise ApplicationError(
                {"kind": "RateLimited", "name": self.name, "retryAfter": after_ms}
            )
        return allowance

    def check(
        self,
        ctx: QueryContext | MutationContext,
        key: str = "",
        *,
        count: float = 1,
        reserve: bool = False,
    ) -> Allowance:
        """What `limit` would say now; consumes nothing."""
        state = _state_of(self._row(ctx, key))
        return self.decide(state, ctx.now.timestamp(), count=count, reserve=reserve)[0]

    def value(self, ctx: QueryContext | MutationContext, key: str = "") -> float:
        """How many `key` may do now; below 0 is what it has reserved."""
        return self._refilled(_state_of(self._row(ctx, key)), ctx.now.timestamp()).value

    def reset(self, ctx: MutationContext, key: str = "") -> None:
        """Give `key` its whole capacity."""
        row = self._row(ctx, key)
        if row is not None:
            ctx.db.delete(row["_id"])

    def decide(
        self, state: State | None, now_s: float, *, count: float, reserve: bool
    ) -> tuple[Allowance, State]:
        """Whether `count` may be done, and what is left then. Pure."""
        most = self.capacity + (self.max_reserved if reserve else 0)
        if not (_is_number(count) and 0 < count <= most):
            raise InvalidValueError(
                f"{self.name!r} never lets {count!r} through: it must be above 0 and at most "
                f"{most:g}, what can be there at once"
            )
        found = self._refilled(state, now_s)
        rest = found.value - count
        if rest < -(self.max_reserved if reserve else 0) - _ROUNDING * self.capacity:
            short = -rest - (self.max_reserved if reserve else 0)
            return Allowance(ok=False, retry_after=self._wait_s(short, found, now_s)), found
        wait_s = 0.0 if rest >= -_ROUNDING * self.capacity else self._wait_s(-rest, found, now_s)
        return Allowance(ok=True, retry_after=wait_s), State(rest, found.at)

    def _refilled(self, state: State | None, now_s: float) -> State:
        """What is there now."""
        is_window = self.kind == "fixed window"
        if state is None or state.at > now_s + max(CLOCK_STEP_S, self.period * is_window):
            value = self.capacity if state is None else state.value
            return State(value, self._window_of(now_s) if is_window else now_s)
        periods = max(0.0, now_s - state.at) / self.period
        if is_window:
            periods = math.floor(periods)
            at = state.at + periods * self.period
        else:
            at = max(state.at, now_s)
        return State(min(self.capacity, state.value + periods * self.rate), at)

    def _window_of(self, now_s: float) -> float:
        return now_s - (now_s - self.start) % self.period

    def _wait_s(self, short: float, found: State, now_s: float) -> float:
        """Seconds until `short` more are there."""
        if self.kind == "token bucket":
            return short * self.period / self.rate
        windows = math.ceil(short / self.rate - _ROUNDING)
        return max(0.0, found.at + windows * self.period - now_s)

    def _row(self, ctx: QueryContext | MutationContext, key: str) -> Document | None:
        if not isinstance(key, str):
            raise InvalidValueError(
                f"{self.name!r} has a limit for each key, which is a text, not {key!r}; without a "
                "key there is one for all"
            )
        return ctx.db.query(TABLE).with_index("by_key", name=self.name, key=key).unique()


def _state_of(row: Document | None) -> State | None:
    return None if row is None else State(row["value"], row["at"])


def token_bucket(
    name: str,
    *,
    rate: float,
    period: float,
    capacity: float | None = None,
    max_reserved: float | None = None,
) -> RateLimit:
    """`rate` in each `period` of so many seconds, coming back evenly.

    Args:
        capacity: how many can be saved up by whoever does less; without it, `rate`.
        max_reserved: how many may be reserved; without it, `capacity`.

    Raises:
        InvalidValueError: a number that is not above 0.
    """
    return _limit(name, "token bucket", rate, period, capacity, max_reserved, 0.0)


def fixed_window(
    name: str,
    *,
    rate: float,
    period: float,
    capacity: float | None = None,
    max_reserved: float | None = None,
    start: float = 0.0,
) -> RateLimit:
    """`rate` in each window of `period` seconds; all of it comes back when the next one begins.

    Args: as `token_bucket`, and
        start: when windows begin, in seconds since 1970; one day's begin at midnight UTC.
    """
    return _limit(name, "fixed window", rate, period, capacity, max_reserved, start)


def _limit(
    name: str,
    kind: Any,
    rate: float,
    period: float,
    capacity: float | None,
    max_reserved: float | None,
    start: float,
) -> RateLimit:
    if type(name) is not str or not name:
        raise InvalidValueError(f"A rate limit has a text for a name, not {name!r}")
    most = rate if capacity is None else capacity
    reserved = most if max_reserved is None else max_reserved
    for word, number in (("rate", rate), ("period", period), ("capacity", most)):
        if not (_is_number(number) and number > 0):
            raise InvalidValueError(f"{word} of {name!r} must be above 0, not {number!r}")
    if not (_is_number(reserved) and reserved >= 0):
        raise InvalidValueError(f"max_reserved of {name!r} must be at least 0, not {reserved!r}")
    return RateLimit(name, kind, rate, period, most, reserved, start)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
