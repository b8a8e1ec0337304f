"""Cells as users write them, by what they use. Each defines a query or mutation `f`.

`BEFORE` is run first in each. A case is (cells, arguments); functions named in `ALSO` travel too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

BEFORE = """\
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import livedb
from livedb import UNSET, Id, Int64, Missing, MutationContext, QueryContext, v
"""

ROWS = 'db["tasks"].insert([{"title": f"t{i}", "points": i, "done": i % 2 == 0} for i in range(6)])'


class Case(NamedTuple):
    cells: tuple[str, ...]
    arguments: Mapping[str, Any] = MappingProxyType({})
    also: tuple[str, ...] = ()


CASES: dict[str, Case] = {
    "nothing at all": Case(("@db.query\ndef f(ctx): return 1",)),
    "reads a table": Case(
        (
            ROWS,
            """\
@db.query
def f(ctx: QueryContext, least: int = 3) -> list[dict]:
    '''Tasks of at least so many points.'''
    return [t for t in ctx.db.query("tasks").collect() if t["points"] >= least]
""",
        ),
        {"least": 2},
    ),
    "a global number": Case(("LIMIT = 7", "@db.query\ndef f(ctx): return LIMIT * 2")),
    "globals of every value": Case(
        (
            """\
A = None; B = True; C = 1.5; D = "é\\U0001f600"; E = b"\\x00\\xff"; F = Int64(5)
G = [1, [2.0, {"a": None}]]; H = {"x": float("inf"), "y": -0.0}
I = datetime(2026, 1, 2, 3, tzinfo=UTC)
""",
            "@db.query\ndef f(ctx): return [A, B, C, D, E, F, G, H, I]",
        )
    ),
    "containers that are no livedb values": Case(
        (
            """\
PAIR = (1, "a", (2.5, None))
ALLOWED = {"todo", "done"}
FROZEN = frozenset({3, 1, 2})
BY_NUMBER = {1: "one", 2: "two", (3, 4): "three-four"}
DOLLAR = {"$set": 1}
""",
            """\
@db.query
def f(ctx):
    kinds = [type(each).__name__ for each in (PAIR, ALLOWED, FROZEN, BY_NUMBER)]
    return [kinds, list(PAIR[:2]), sorted(ALLOWED), sorted(FROZEN), BY_NUMBER[2], BY_NUMBER[3, 4],
            list(DOLLAR)[0][1:]]
""",
        )
    ),
    "dates, decimals, patterns, ranges": Case(
        (
            """\
import re
from decimal import Decimal
from datetime import timezone
from zoneinfo import ZoneInfo
WEEK = timedelta(days=7)
DAY = date(2026, 1, 31)
LOCAL = datetime(2026, 1, 31, 12)
THERE = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
EAST = timezone(timedelta(hours=5, minutes=30), "east")
PRICE = Decimal("19.90")
WORD = re.compile(r"[a-z]+", re.IGNORECASE)
STEPS = range(0, 10, 3)
HUGE = -(2**70)
LONG = 7**9_000
BERLIN = ZoneInfo("Europe/Berlin")
""",
            """\
@db.query
def f(ctx):
    return [str(DAY + WEEK), LOCAL.isoformat(), THERE.isoformat(), str(EAST), str(PRICE * 2),
            WORD.findall("Ab1 cd"), list(STEPS),
            str(HUGE + 1), LONG % 1_000, datetime(2026, 7, 1, tzinfo=BERLIN).utcoffset().seconds]
""",
        )
    ),
    "named tuples, counters, default dicts": Case(
        (
            """\
from collections import Counter, defaultdict, namedtuple
from typing import NamedTuple
Point = namedtuple("Point", "x y")
class Span(NamedTuple):
    start: int
    end: int = 9
HERE = Point(1, 2)
SPAN = Span(4)
SEEN = Counter("abracadabra")
GROUPS = defaultdict(list, {"a": [1]})
""",
            """\
@db.query
def f(ctx):
    return [HERE.x, Point(5, y=6).y, SPAN.end, SEEN.most_common(1)[0][0], GROUPS["a"], GROUPS["q"]]
""",
        )
    ),
    "modules": Case(
        (
            "import math\nimport json as j\nimport os.path\nimport numpy as np",
            """\
@db.query
def f(ctx):
    return [math.floor(2.5), j.dumps([1]), os.path.join("a", "b"), float(np.sqrt(16.0))]
""",
        )
    ),
    "a logger": Case(
        (
            "import logging\nlog = logging.getLogger(__name__)",
            "@db.query\ndef f(ctx):\n    log.debug('x')\n    return log.name",
        )
    ),
    "names from modules": Case(
        (
            """\
from math import pi, sqrt
from functools import reduce
from operator import itemgetter
from itertools import chain as joined
from statistics import mean
from numpy import float64, hypot
from collections import OrderedDict
""",
            """\
@db.query
def f(ctx):
    rows = [{"a": 3}, {"a": 1}]
    return [sqrt(pi), reduce(lambda a, b: a + b, [1, 2]), sorted(rows, key=itemgetter("a")),
            list(joined([1], [2])), mean([1, 2]), float(hypot(3, 4)), float(float64(2)),
            list(OrderedDict(a=1))]
""",
        )
    ),
    "a numpy scalar": Case(
        (
            "import numpy as np\nMEAN = np.mean([1.0, 2.0])",
            "@db.query\ndef f(ctx): return MEAN + 1",
        )
    ),
    "a helper function": Case(
        (
            ROWS,
            """\
def points(task):
    return task["points"] * FACTOR

FACTOR = 10
""",
            """\
@db.query
def f(ctx):
    return sum(points(t) for t in ctx.db.query("tasks").collect())
""",
        )
    ),
    "helpers of helpers": Case(
        (
            """\
BASE = 2
def a(x): return b(x) + BASE
def b(x): return c(x) * 2
def c(x): return x - 1
""",
            "@db.query\ndef f(ctx, x: int): return a(x)",
        ),
        {"x": 10},
    ),
    "a recursive helper": Case(
        (
            "def factorial(n):\n    return 1 if n <= 1 else n * factorial(n - 1)",
            "@db.query\ndef f(ctx): return factorial(10)",
        )
    ),
    "helpers that call each other": Case(
        (
            """\
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
""",
            "@db.query\ndef f(ctx): return [even(10), odd(7), even(3)]",
        )
    ),
    "a helper redefined by a later cell": Case(
        (
            "def helper(): return 'old'",
            "def helper(): return 'new'",
            "@db.query\ndef f(ctx): return helper()",
        )
    ),
    "a lambda in a global": Case(
        (
            "key = lambda row: (row['a'],\n    -row['b'])",
            "@db.query\ndef f(ctx): return sorted([{'a': 1, 'b': 1}, {'a': 1, 'b': 2}], key=key)",
        )
    ),
    "two lambdas of one line": Case(
        (
            "one, two = (lambda: 1), (lambda: lambda: 2)",
            "inner = two()",
            "@db.query\ndef f(ctx): return [one(), two()(), inner()]",
        )
    ),
    "a lambda as default": Case(
        (
            """\
def apply(x, step=lambda n: n + 1, *, times=2):
    for _ in range(times):
        x = step(x)
    return x
""",
            "@db.query\ndef f(ctx, x: int = 5): return [apply(x), apply(x, times=3)]",
        )
    ),
    "a default that was computed": Case(
        (
            "start = 40\ndef compute(): return start + 2",
            "@db.query\ndef f(ctx, n: int = compute()): return n",
            "start = 0",
        )
    ),
    "a mutable default": Case(
        ("def add(x, to=[0]): return to + [x]", "@db.query\ndef f(ctx): return add(1) + add(2)")
    ),
    "an enum as default": Case(
        (
            """\
from enum import Enum, IntEnum
class Status(Enum):
    OPEN = "todo"
    DONE = "done"
class Level(IntEnum):
    LOW = 1
    HIGH = 2
""",
            """\
@db.query
def f(ctx, status: Status = Status.OPEN, level: Literal["a"] | None = None):
    return [Status(status).name, Level.HIGH + 1, [s.value for s in Status]]
""",
        ),
        {"status": "done"},
    ),
    "a closure": Case(
        (
            """\
def make(factor):
    offset = 3
    @db.query
    def f(ctx, x: int): return x * factor + offset
    return f
f = make(5)
""",
        ),
        {"x": 2},
    ),
    "two closures of one factory": Case(
        (
            """\
def adder(n):
    def add(x):
        return x + n
    return add
add1, add10 = adder(1), adder(10)
""",
            "@db.query\ndef f(ctx): return [add1(0), add10(0)]",
        )
    ),
    "nested functions and classes": Case(
        (
            """\
@db.query
def f(ctx):
    total = 0
    def add(x):
        nonlocal total
        total += x
    class Box:
        size = 3
        def double(self): return self.size * 2
    for i in range(4): add(i)
    return [total, Box().double()]
""",
        )
    ),
    "comprehensions": Case(
        (
            "WEIGHTS = {'a': 2, 'b': 3}\nSKIP = {'c'}\ndef w(k): return WEIGHTS.get(k, 1)",
            """\
@db.query
def f(ctx):
    return [[w(k) for k in 'abc' if k not in SKIP], sorted({w(k) for k in 'ab'}),
            {k: w(k) for k in WEIGHTS}, sum(w(k) for k in 'abc')]
""",
        )
    ),
    "f-strings": Case(
        (
            "NAME = 'Ann'\nWIDTH = 6\ndef shout(s): return s.upper()",
            """\
@db.query
def f(ctx): return f"{shout(NAME)!r:>{WIDTH + 4}}|{NAME=}|{len(f'{WIDTH}')}"
""",
        )
    ),
    "a text of several lines in an indented function": Case(
        (
            'if True:\n    def text():\n        return """one\n  two\n\tthree"""\n',
            "@db.query\ndef f(ctx): return text()",
        )
    ),
    "walrus, match, star arguments, keyword only": Case(
        (
            """\
def describe(*values, sep=", ", **named):
    match values:
        case [first, *rest] if (n := len(rest)) > 1:
            return sep.join([str(first), str(n), *named])
        case _:
            return "few"
""",
            """\
@db.query
def f(ctx): return [describe(1, 2, 3, z=1), describe(1), describe(1, 2, 3, sep='-')]
""",
        )
    ),
    "a generator helper": Case(
        (
            "def evens(n):\n    for i in range(n):\n        if i % 2 == 0:\n            yield i",
            "@db.query\ndef f(ctx): return list(evens(7))",
        )
    ),
    "a table class": Case(
        (
            """\
@db.table("users")
class User:
    name: str
    age: int = 30
""",
            'db["users"].insert([{"name": "Ann"}, {"name": "Bob", "age": 20}])',
            """\
@db.query
def f(ctx: QueryContext, least: int) -> list[User]:
    return [u for u in ctx.db.query(User).collect() if u.age >= least]
""",
        ),
        {"least": 25},
    ),
    "tables that refer to each other": Case(
        (
            """\
STATUS = Literal["todo", "done"]

@db.table("people")
class Person:
    name: str

@db.table(
    "jobs",
    indexes={"by_person": ["person"]},
)
class Job:
    person: Id[Person]
    title: str
    status: STATUS = "todo"
    due: datetime | None = None
    note: str | Missing = UNSET
    after: "Id[Job] | None" = None
""",
            """\
@db.mutation
def f(ctx: MutationContext, name: str, titles: list[str]) -> list[Job]:
    person = ctx.db.insert(Person, {"name": name})
    for title in titles:
        ctx.db.insert("jobs", {"title": title, "person": person})
    found = ctx.db.query(Job).with_index("by_person", person=person).collect()
    assert all(job.person == person for job in found)
    return []
""",
        ),
        {"name": "Ann", "titles": ["a", "b"]},
    ),
    "a table class below a future import": Case(
        (
            """\
from __future__ import annotations
from dataclasses import dataclass

@db.table("notes")
class Note:
    text: str
    parent: Id[Note] | None = None

@dataclass
class Line:
    text: str
    width: int = 3
    def padded(self) -> str:
        return self.text.rjust(self.width)

@db.query
def f(ctx: QueryContext, text: str) -> list[Note]:
    ctx.db.query(Note).collect()
    return [] if Line(text).padded() == "  x" else [1]
""",
        ),
        {"text": "x"},
    ),
    "a mutation": Case(
        (
            ROWS,
            """\
@db.mutation
def f(ctx, title: str):
    ctx.db.insert("tasks", {"title": title, "points": 99, "done": False})
    return [t.title for t in ctx.db.query("tasks").order("desc").take(2)]
""",
        ),
        {"title": "new"},
    ),
    "a dataclass": Case(
        (
            """\
from dataclasses import dataclass, field

@dataclass(frozen=True, order=True)
class Price:
    amount: int
    currency: str = "EUR"
    tags: list = field(default_factory=list, compare=False)
    @property
    def text(self): return f"{self.amount} {self.currency}"
    @classmethod
    def zero(cls): return cls(0)
    @staticmethod
    def unit(): return ZERO.currency

ZERO = None
""",
            "ZERO = Price.zero",
            """\
@db.query
def f(ctx): return [Price(3).text, Price(1) < Price(2), ZERO().text, Price(1).tags]
""",
        )
    ),
    "a dataclass without methods, with slots": Case(
        (
            """\
from dataclasses import dataclass
@dataclass(slots=True, kw_only=True)
class P:
    x: int
    y: int = 2
""",
            "@db.query\ndef f(ctx): return [P(x=1).y, repr(P(x=3))]",
        )
    ),
    "a TypedDict as argument": Case(
        (
            """\
from typing import NotRequired, TypedDict
class Address(TypedDict):
    city: str
    zip: NotRequired[str]
Odd = TypedDict("Odd", {"Unit price": float})
""",
            """\
@db.query
def f(ctx, address: Address, odd: Odd) -> str:
    return f"{address['city']} {odd['Unit price']}"
""",
        ),
        {"address": {"city": "Bonn"}, "odd": {"Unit price": 2.5}},
    ),
    "a wrong argument": Case(("@db.query\ndef f(ctx, n: int): return n",), {"n": "one"}),
    "a wrong result": Case(("@db.query\ndef f(ctx) -> int: return 'one'",)),
    "validators in the decorator": Case(
        (
            "TITLE = v.string()",
            """\
@db.query(args={"title": TITLE, "n": v.optional(v.number())}, returns=v.array(v.string()))
def f(ctx, title, n=2):
    return [title] * int(n)
""",
        ),
        {"title": "x"},
    ),
    "validators as annotations": Case(
        (
            "Tags = v.array(v.string())",
            "@db.query\ndef f(ctx, tags: Tags) -> Tags:\n    return sorted(tags)",
        ),
        {"tags": ["b", "a"]},
    ),
    "aliases of types": Case(
        (
            """\
from typing import Annotated, NewType, Optional
Names = list[str]
Maybe = Optional[int]
Either = int | str
UserName = NewType("UserName", str)
Small = Annotated[int, "at most 9"]
Deep = dict[str, list[Either]]
""",
            """\
@db.query
def f(ctx, names: Names, maybe: Maybe, either: Either, user: UserName, small: Small, deep: Deep):
    return [names, maybe, either, UserName(user), small, deep]
""",
        ),
        {
            "names": ["a"],
            "maybe": None,
            "either": "x",
            "user": "u",
            "small": 1,
            "deep": {"a": [1, "b"]},
        },
    ),
    "names on the wire": Case(
        (
            """\
@db.query(alias={'user_id': 'userId'})
def f(ctx, from_: int, user_id: str): return [from_, user_id]
""",
        ),
        {"from_": 1, "user_id": "u"},
    ),
    "further arguments": Case(
        ("@db.query\ndef f(ctx, a: int, **rest: str): return [a, rest]",), {"a": 1, "b": "x"}
    ),
    "a cached helper": Case(
        (
            """\
from functools import cache, lru_cache
@cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
@lru_cache(maxsize=4)
def square(n):
    return n * n
""",
            "@db.query\ndef f(ctx): return [fib(60), square(5)]",
        )
    ),
    "a partial": Case(
        (
            """\
from functools import partial
def power(x, n, *, sign=1): return sign * x ** n
cube = partial(power, n=3, sign=-1)
""",
            "@db.query\ndef f(ctx): return cube(2)",
        )
    ),
    "a decorator of the user's": Case(
        (
            """\
import functools
CALLS = "called"
def logged(prefix):
    def decorate(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return [prefix, CALLS, fn.__name__, fn(*args, **kwargs)]
        return wrapper
    return decorate

@logged("a")
@logged("b")
def helper(x):
    return x + 1
""",
            "@db.query\ndef f(ctx): return helper(1)",
        )
    ),
    "a context manager": Case(
        (
            """\
from contextlib import contextmanager
@contextmanager
def bracketed(out):
    out.append("[")
    try:
        yield out
    finally:
        out.append("]")
""",
            """\
@db.query
def f(ctx):
    out = []
    with bracketed(out) as o:
        o.append('x')
    return out
""",
        )
    ),
    "a class hierarchy": Case(
        (
            """\
from abc import ABC, abstractmethod
RATE = 2
class Shape(ABC):
    registry = []
    def __init_subclass__(cls):
        Shape.registry.append(cls.__name__)
    @abstractmethod
    def area(self): ...
    def scaled(self): return self.area() * RATE
    def copy(self): return Square(1)
class Square(Shape):
    def __init__(self, side): self.side = side
    def area(self): return self.side ** 2
class Big(Square):
    def area(self): return super().area() * 100
""",
            """\
@db.query
def f(ctx): return [Big(2).scaled(), Square(3).copy().area(), sorted(Shape.registry)]
""",
        )
    ),
    "a class decorated by the user's": Case(
        (
            """\
from functools import total_ordering
def suffix(): return "!"
def named(cls):
    cls.label = cls.__name__ + suffix()
    return cls
@named
@total_ordering
class Version:
    parts = [helper_n for helper_n in (1, 2)]
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == other.n
    def __lt__(self, other): return self.n < other.n
""",
            """\
@db.query
def f(ctx): return [Version.label, Version(2) >= Version(1), Version.parts]
""",
        )
    ),
    "an inner class": Case(
        (
            """\
class Outer:
    class Inner:
        x = 5
    @classmethod
    def make(cls): return cls.Inner
Inner = Outer.Inner
make = Outer.make
""",
            "@db.query\ndef f(ctx): return [Inner.x, make().x]",
        )
    ),
    "a generic class": Case(
        (
            """\
from typing import Generic, TypeVar
T = TypeVar('T')
class Box(Generic[T]):
    def __init__(self, x: T): self.x = x
""",
            "@db.query\ndef f(ctx): return Box[int](3).x",
        )
    ),
    "functions in a dict": Case(
        (
            """\
def add(a, b): return a + b
def again(a, b): return OPERATIONS["+"](a, b) * 2
OPERATIONS = {"+": add, "*": lambda a, b: a * b, "again": again}
PIPELINE = [str.strip, str.upper, len]
""",
            """\
@db.query
def f(ctx):
    text = "  ab "
    for step in PIPELINE:
        text = step(text)
    return [OPERATIONS["+"](1, 2), OPERATIONS["*"](3, 4), OPERATIONS["again"](1, 1), text]
""",
        )
    ),
    "attributes of a function": Case(
        (
            "def helper(): return helper.version\nhelper.version = 3",
            "@db.query\ndef f(ctx): return helper()",
        )
    ),
    "the workspace itself": Case(
        (
            ROWS,
            """\
@db.mutation
def f(ctx, title: str):
    before = db["tasks"].count()
    db["tasks"].insert({"title": title, "points": 0, "done": True})
    return [before, db["tasks"].count(), len(ctx.db.query("tasks").collect())]
""",
        ),
        {"title": "x"},
    ),
    "another function of the workspace": Case(
        (
            ROWS,
            "@db.query\ndef count(ctx) -> int: return len(ctx.db.query('tasks').collect())",
            """\
@db.mutation
def f(ctx, title: str):
    before = count()
    ctx.db.insert("tasks", {"title": title, "points": 0, "done": True})
    return [before, count()]
""",
        ),
        {"title": "x"},
        also=("count",),
    ),
    "a function that calls itself": Case(
        ("@db.query\ndef f(ctx, n: int) -> int: return 1 if n < 2 else n * f(n=n - 1)",), {"n": 5}
    ),
    "a redefined function that calls itself": Case(
        (
            "@db.query\ndef f(ctx, n: int): return -1",
            "@db.query\ndef f(ctx, n: int) -> int: return 1 if n < 2 else n * f(n=n - 1)",
        ),
        {"n": 4},
    ),
    "an error of the user's own": Case(
        (
            "# a comment\n\n\ndef fail(x):\n    y = x\n    raise ValueError(f'no {y}')",
            "@db.query\ndef f(ctx):\n    return fail(3)",
        )
    ),
    "an application error": Case(
        (
            "from livedb import ApplicationError\nCODE = 'taken'",
            "@db.query\ndef f(ctx):\n    raise ApplicationError({'code': CODE})",
        )
    ),
    "imports within the function": Case(
        (
            """\
@db.query
def f(ctx):
    import math
    from json import dumps
    return dumps(math.floor(1.5))
""",
        )
    ),
    "decorated twice": Case(
        (
            """\
import functools
def noisy(fn):
    @functools.wraps(fn)
    def w(*a, **k): return fn(*a, **k)
    return w
""",
            "@db.query\n@noisy\ndef f(ctx, x: int): return x + 1",
        ),
        {"x": 1},
    ),
    "a shared list": Case(
        (
            "SHARED = [1]\ndef grow(): return SHARED + [2]\ndef same(): return SHARED",
            "@db.query\ndef f(ctx): return [grow(), same() is SHARED]",
        )
    ),
    "documents read before": Case(
        (
            ROWS,
            "FIRST = db['tasks'].first()\nALL = db['tasks'].collect()",
            "@db.query\ndef f(ctx): return [FIRST.title, FIRST['points'], ALL[1].title]",
        )
    ),
}
