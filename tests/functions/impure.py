"""Functions of module level that purity has something to say about; see `test_purity`."""

from __future__ import annotations

import datetime as dt
import random
import secrets
import time
import uuid
from datetime import date, datetime
from types import ModuleType

NUMBERS = [1, 2, 3]
TABLE = {"a": 1}
LIMIT = 10

tools = ModuleType("tools")
tools.random = random
tools.time = time


def now(ctx):
    return datetime.now()  # noqa: DTZ005  # what the test is about


def today(ctx):
    return date.today()  # noqa: DTZ011  # what the test is about


def clock(ctx):
    return [time.time() for _ in range(2)]


def dice(ctx):
    return random.random()


def token(ctx):
    return secrets.token_hex()


def name(ctx):
    return uuid.uuid4()


def module_now(ctx):
    return dt.datetime.now()  # noqa: DTZ005  # what the test is about


def module_today(ctx):
    return dt.date.today().isoformat()  # noqa: DTZ011  # what the test is about


def deep_dice(ctx):
    return tools.random.random()


def deep_clock(ctx):
    return tools.time.time()


def numbers(ctx):
    return sum(NUMBERS) + NUMBERS[0]


def table(ctx):
    return [TABLE.get(key) for key in "ab"]


def fine(ctx):
    return LIMIT, len("x"), ctx.now, ctx.random, dt.timedelta.max, dt.UTC, tools.missing.x
