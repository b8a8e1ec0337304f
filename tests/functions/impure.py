"""Functions of module level that purity has something to say about; see `test_purity`."""

from __future__ import annotations

import datetime as dt
import random
import secrets
import socket
import subprocess
import time
import uuid
from datetime import date, datetime
from datetime import datetime as moment
from random import Random, randint
from random import random as roll
from secrets import token_hex
from time import time as now_s
from types import ModuleType
from urllib.request import urlopen
from uuid import uuid4, uuid5

import pandas as pd

NUMBERS = [1, 2, 3]
TABLE = {"a": 1}
LIMIT = 10

tools = ModuleType("tools")
tools.random = random
tools.time = time
tools.now_s = now_s
kept_now = datetime.now


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


def imported_clock(ctx):
    return now_s()


def imported_class(ctx):
    return moment.now()  # noqa: DTZ005  # what the test is about


def imported_dice(ctx):
    return roll()


def imported_method(ctx):
    return randint(1, 6)


def imported_generator(ctx):
    return Random()


def imported_token(ctx):
    return token_hex()


def imported_name(ctx):
    return uuid4()


def kept_method(ctx):
    return kept_now()


def renamed_clock(ctx):
    return tools.now_s()


def file(ctx):
    return open("x").read()  # noqa: PTH123  # what the test is about


def network(ctx):
    return socket.create_connection(("example.com", 80))


def raw_network(ctx):
    return socket.socket()


def address(ctx):
    return urlopen("https://example.com")


def process(ctx):
    return subprocess.run(["true"], check=True)


def frame(ctx):
    return pd.read_csv("x.csv")


def numbers(ctx):
    return sum(NUMBERS) + NUMBERS[0]


def table(ctx):
    return [TABLE.get(key) for key in "ab"]


def names_by_hash(ctx):
    return uuid.uuid5(uuid.NAMESPACE_DNS, "a"), uuid5(uuid.NAMESPACE_DNS, "a"), uuid.UUID(int=1)


def fine(ctx):
    return LIMIT, len("x"), ctx.now, ctx.random, dt.timedelta.max, dt.UTC, tools.missing.x
