"""Functions of module level that purity has something to say about; see `test_purity`."""

from __future__ import annotations

import random
import secrets
import time
import uuid
from datetime import date, datetime

NUMBERS = [1, 2, 3]
TABLE = {"a": 1}
LIMIT = 10


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


def numbers(ctx):
    return sum(NUMBERS) + NUMBERS[0]


def table(ctx):
    return [TABLE.get(key) for key in "ab"]


def fine(ctx):
    return LIMIT, len("x"), ctx.now, ctx.random
