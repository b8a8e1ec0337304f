"""Random values, documents, schemas, queries and programs. Everything follows from a `Random`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from livedb.values import UNSET, Int64
from tests.oracle.model import EPOCH, Bound, Index, Spec

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 0.0, -0.0, 1, 1.0, 2, 2.5, -1, -1.5, 2**53, -(2**53), 5e-324, 1e300,
    float("nan"), float("inf"), float("-inf"), Int64(0), Int64(1), Int64(-300), Int64(2**62),
    Int64(-(2**63)), "", "a", "a\x00", "ab", "b", "é", "\uffff", "\U0001f600", b"", b"a", b"a\x00",
    b"\xff", EPOCH, EPOCH + timedelta(milliseconds=1), datetime(2026, 3, 29, 1, 30, 0, 1, UTC),
    [], [1], [1.0], [1, None], ["a"], [[]], {}, {"x": 1}, {"x": 1.0}, {"x": None},
    {"x": "s", "y": 2}, {"y": 2, "x": "s"}, {"x": {"z": Int64(1)}},
)  # fmt: skip
"""Few enough to meet each other often, and all the types and edges."""

LOOSE, STRICT, UNIQUE = "loose", "strict", "unique_keys"
TABLES = (LOOSE, STRICT, UNIQUE)

BASE: dict[str, Any] = {
    "k": "string",
    "num": "number",
    "count": "integer",
    "opt": ("optional", "string"),
    "flag": "boolean",
    "when": ("union", "datetime", "null"),
    "big": "int64",
    "raw": "bytes",
    "nest": ("object", {"x": "number", "y": ("optional", "string")}),
}
STRICT_TYPES: tuple[dict[str, Any] | None, ...] = (
    BASE,
    {**BASE, "opt": ("optional", ("union", "string", "number"))},
    {**BASE, "k": ("union", ("literal", "a"), ("literal", "b"), ("literal", ""))},
    {**BASE, "num": "integer"},
    {**BASE, "extra": "any"},
    {**BASE, "extra": ("optional", "any")},
    {**BASE, "when": "datetime"},
    {**BASE, "nest": "any"},
    {name: kind for name, kind in BASE.items() if name != "opt"},
    None,
)
INDEXES: dict[str, tuple[tuple[Index, ...], ...]] = {
    LOOSE: (
        (),
        (Index("by_a", ("a",)), Index("by_a_b", ("a", "b")), Index("by_nx_a", ("n.x", "a"))),
        (Index("by_a", ("a",)), Index("by_s_i", ("s", "i")), Index("by_nyz", ("n.y.z",))),
        (Index("by_a", ("b",)), Index("by_a_b", ("a", "b"), is_unique=True)),
    ),
    STRICT: (
        (Index("by_num", ("num",)), Index("by_nest", ("nest.x", "count"))),
        (Index("by_num", ("num",)), Index("by_opt", ("opt", "num")), Index("by_when", ("when",))),
        (Index("by_num", ("count", "num")), Index("by_big", ("big",)), Index("by_raw", ("raw",))),
    ),
    UNIQUE: (
        (Index("by_key", ("key",), is_unique=True),),
        (Index("by_key", ("key",), is_unique=True), Index("by_gh", ("g", "h"), is_unique=True)),
        (Index("by_key", ("key",)),),
    ),
}
FIELDS: dict[str, tuple[str, ...]] = {
    LOOSE: ("a", "b", "n", "n.x", "n.y", "s", "i", "t"),
    STRICT: ("k", "num", "count", "opt", "when", "big", "raw", "nest.x", "nest.y"),
    UNIQUE: ("key", "g", "h"),
}
BUILT_IN = (Index("by_creation_time", ()), Index("by_id", ()))


def document(rng: Random, table: str) -> dict[str, Any]:
    """A document for `table`; now and then one that its schema refuses."""
    if table == STRICT:
        return _strict_document(rng)
    if table == UNIQUE:
        made = {"key": rng.choice(VALUES), "g": rng.choice((None, 1, 1.0, "a", Int64(1)))}
        made["h"] = rng.randrange(4)
    else:
        made = {"a": rng.choice(VALUES), "b": rng.choice(VALUES), "s": rng.choice("abc")}
        made |= {"i": rng.randrange(5), "n": _nested(rng)}
        if rng.random() < 0.2:
            made["t"] = [rng.choice(VALUES) for _ in range(rng.randrange(3))]
    return {name: value for name, value in _shuffled(rng, made) if rng.random() > 0.12}


def _shuffled(rng: Random, fields: dict[str, Any]) -> list[tuple[str, Any]]:
    found = list(fields.items())
    if rng.random() < 0.3:
        rng.shuffle(found)
    return found


def _nested(rng: Random) -> Any:
    if rng.random() < 0.3:
        return rng.choice(VALUES)
    return {name: rng.choice(VALUES) for name in ("x", "y") if rng.random() < 0.8}


def _strict_document(rng: Random) -> dict[str, Any]:
    made: dict[str, Any] = {
        "k": rng.choice(("a", "b", "", "\U0001f600", "a\x00")),
        "num": rng.choice((0, 1, 2.5, -0.0, 0.0, float("nan"), float("-inf"), 1e16, -3)),
        "count": rng.choice((0, 1, 2, 3.0, -7, 2**53)),
        "flag": rng.random() < 0.5,
        "when": rng.choice((None, EPOCH, datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC))),
        "big": rng.choice((Int64(0), Int64(1), Int64(-(2**63)), Int64(2**63 - 1))),
        "raw": rng.choice((b"", b"\x00\xff", b"abc")),
        "nest": {"x": rng.choice((0, 1.5, -2))},
    }
    if rng.random() < 0.5:
        made["opt"] = rng.choice(("", "x", "y"))
    if rng.random() < 0.1:
        made["nest"]["y"] = "s"
    if rng.random() < 0.1:
        made[rng.choice(("extra", "k", "num", "count", "nest", "big"))] = rng.choice(VALUES)
    if rng.random() < 0.05:
        del made[rng.choice(list(made))]
    return dict(_shuffled(rng, made))


def changes(rng: Random, table: str) -> dict[str, Any]:
    """What a patch changes; UNSET removes."""
    made = document(rng, table)
    names = rng.sample(list(made), min(len(made), rng.randrange(3)))
    found = {name: made[name] for name in names}
    if rng.random() < 0.2:
        removable = [path for path in FIELDS[table] if "." not in path]
        found[rng.choice(removable)] = UNSET
    return found


# -- programs --------------------------------------------------------------------------------------


def program(rng: Random, depth: int = 0) -> list[tuple[Any, ...]]:
    """The operations of one mutation."""
    made: list[tuple[Any, ...]] = []
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        table = rng.choice(TABLES)
        match rng.choices(
            ("insert", "patch", "replace", "delete", "read", "nested", "iterate"),
            (8, 6, 3, 3, 4, 3 if depth < 3 else 0, 1),
        )[0]:
            case "insert":
                made.append(("insert", table, document(rng, table)))
            case "patch":
                made.append(("patch", table, rng.random(), changes(rng, table)))
            case "replace":
                made.append(("replace", table, rng.random(), document(rng, table)))
            case "delete":
                made.append(("delete", table, rng.random()))
            case "read":
                made.append(("read", spec(rng, ())))
            case "nested":
                made.append(("nested", program(rng, depth + 1)))
            case "iterate":
                made.append(("delete_while_reading", table, rng.randrange(1, 4)))
    if rng.random() < 0.12:
        made.append(("fail",))
    return made


# -- queries ---------------------------------------------------------------------------------------


def spec(rng: Random, names: tuple[str, ...]) -> Spec:
    """A query; `names` are queries it may run."""
    if names and rng.random() < 0.15:
        return Spec(LOOSE, nested=rng.choice(names))
    table = rng.choice(TABLES)
    # Of all index sets there ever are: one that the table does not have is an error to follow too.
    index = rng.choice((*rng.choice(INDEXES[table]), *BUILT_IN)) if rng.random() < 0.75 else None
    equal, lower, upper = _range(rng, table, index) if index is not None else ((), None, None)
    verb = rng.choice(("collect", "collect", "take", "first", "unique", "page", "count"))
    return Spec(
        table,
        index=None if index is None else index.name,
        equal=equal,
        lower=lower,
        upper=upper,
        order=rng.choice(("asc", "desc")),
        filters=tuple(_tree(rng, table, 2) for _ in range(rng.choice((0, 0, 0, 1, 2)))),
        verb=verb,
        count=rng.randrange(1, 5),
    )


def value_for(rng: Random, table: str, path: str) -> Any:
    """A value that a document may well have there."""
    if rng.random() < 0.1:
        return UNSET
    found: Any = document(rng, table)
    for name in path.split("."):
        found = found.get(name, UNSET) if isinstance(found, dict) else rng.choice(VALUES)
    return rng.choice(VALUES) if found is UNSET else found


def _range(
    rng: Random, table: str, index: Index
) -> tuple[tuple[tuple[str, Any], ...], Bound | None, Bound | None]:
    width = rng.randrange(len(index.fields) + 1)
    equal = tuple((path, value_for(rng, table, path)) for path in index.fields[:width])
    if width >= len(index.fields) or rng.random() < 0.4:
        return equal, None, None
    path = index.fields[width]

    def bound() -> Bound | None:
        if rng.random() < 0.3:
            return None
        return Bound(path, value_for(rng, table, path), rng.random() < 0.5)

    return equal, bound(), bound()


def _tree(rng: Random, table: str, depth: int) -> tuple[Any, ...]:
    if depth and rng.random() < 0.4:
        name = rng.choice(("and", "or", "not"))
        parts = 1 if name == "not" else rng.randrange(3)
        return (name, *(_tree(rng, table, depth - 1) for _ in range(parts)))
    path = rng.choice(FIELDS[table])
    left: tuple[Any, ...] = ("field", path)
    if rng.random() < 0.05:
        left = ("add", left, ("value", 1))
    right = ("value", value_for(rng, table, path))
    return (rng.choice(("eq", "neq", "lt", "lte", "gt", "gte")), left, right)
