"""A workspace in plain Python: dicts, and sorting by a comparison function.

Written from the specification alone (semantics.md 1, 4, 5), without `livedb.keys`, the schema's
compiled checks or any index, so that it cannot share their mistakes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from livedb.values import UNSET, Int64, Missing

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SAFE = 2**53


class ModelError(Exception):
    """The model says that this must fail, with an error of the class `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


# -- values ----------------------------------------------------------------------------------------


def _rank(value: Any) -> int:
    """Undefined, null, int64, number, boolean, string, bytes, array, object: in this order."""
    if isinstance(value, Missing):
        return 0
    order: list[tuple[type, int]] = [
        (type(None), 1),
        (bool, 4),
        (Int64, 2),
        (int, 3),
        (float, 3),
        (datetime, 3),
        (str, 5),
        (bytes, 6),
        (list, 7),
        (dict, 8),
    ]
    return next(rank for kind, rank in order if isinstance(value, kind))


def _three_way(a: Any, b: Any) -> int:
    return (a > b) - (a < b)


def _number(value: Any) -> float:
    if isinstance(value, datetime):
        return (value - EPOCH) / timedelta(milliseconds=1)
    return float(value)


def _compare_numbers(a: float, b: float) -> int:
    """-inf .. -0.0 < 0.0 .. inf < NaN, and NaN equals itself."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) - math.isnan(b)
    return _three_way(a, b) or _three_way(math.copysign(1, a), math.copysign(1, b))


def compare(a: Any, b: Any) -> int:
    """Below 0, 0 or above 0, in the total order of all values."""
    rank = _rank(a)
    if rank != _rank(b):
        return rank - _rank(b)
    if rank in (0, 1):
        return 0
    if rank == 3:
        return _compare_numbers(_number(a), _number(b))
    if rank == 7:
        return _compare_sequences(a, b)
    if rank == 8:
        return _compare_sequences(
            [part for name in sorted(a) for part in (name, a[name])],
            [part for name in sorted(b) for part in (name, b[name])],
        )
    return _three_way(a, b)


def _compare_sequences(a: list[Any], b: list[Any]) -> int:
    for left, right in zip(a, b, strict=False):
        found = compare(left, right)
        if found:
            return found
    return len(a) - len(b)


def exact(value: Any) -> Any:
    """A form that `==` compares to the last bit: types, signs, NaN, the order of user fields."""
    if isinstance(value, dict):
        fields = sorted(value.items(), key=lambda each: each[0] not in ("_id", "_creationTime"))
        return ("dict", tuple((name, exact(item)) for name, item in fields))
    if isinstance(value, (list, tuple)):
        return ("list", tuple(map(exact, value)))
    if isinstance(value, float):
        return ("float", value.hex())
    if isinstance(value, datetime):
        return ("datetime", value.astimezone(UTC).isoformat())
    return (type(value).__name__, value)


def value_at(fields: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; UNSET where there is none."""
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return UNSET
        value = value[name]
    return value


# -- schemas ---------------------------------------------------------------------------------------

REFUSED = object()


def convert(kind: Any, value: Any) -> Any:
    """`value` as a field of the type `kind` keeps it, or REFUSED."""
    if isinstance(kind, tuple):
        return _convert_compound(kind, value)
    is_bool = isinstance(value, bool)
    is_int = isinstance(value, int) and not is_bool and not isinstance(value, Int64)
    match kind:
        case "any":
            return value
        case "null":
            return None if value is None else REFUSED
        case "boolean":
            return value if is_bool else REFUSED
        case "string":
            return value if isinstance(value, str) else REFUSED
        case "bytes":
            return value if isinstance(value, bytes) else REFUSED
        case "int64":
            return value if isinstance(value, Int64) else REFUSED
        case "datetime":
            return value if isinstance(value, datetime) else REFUSED
        case "number":
            return float(value) if is_int or isinstance(value, float) else REFUSED
        case "integer":
            if isinstance(value, float) and value.is_integer() and abs(value) <= SAFE:
                return int(value)
            return value if is_int else REFUSED
    raise AssertionError(kind)


def _convert_compound(kind: tuple[Any, ...], value: Any) -> Any:
    match kind[0]:
        case "optional":
            return convert(kind[1], value)
        case "literal":
            return value if type(value) is type(kind[1]) and value == kind[1] else REFUSED
        case "union":
            # The members here never overlap in what they convert, so the first that fits decides.
            kept = (convert(member, value) for member in kind[1:])
            return next((each for each in kept if each is not REFUSED), REFUSED)
        case "object":
            return convert_object(kind[1], value)
    raise AssertionError(kind)


def convert_object(types: Mapping[str, Any], value: Any) -> Any:
    """An object's fields, each as its type keeps it, or REFUSED."""
    if not isinstance(value, dict) or not value.keys() <= types.keys():
        return REFUSED
    kept = {}
    for name, kind in types.items():
        is_optional = isinstance(kind, tuple) and kind[0] == "optional"
        if name not in value:
            if not is_optional:
                return REFUSED
            continue
        kept[name] = convert(kind, value[name])
        if kept[name] is REFUSED:
            return REFUSED
    return {name: kept[name] for name in value}


# -- documents -------------------------------------------------------------------------------------


class Stored(NamedTuple):
    """A document: its creation time and fields. Never changed in place."""

    time: float
    fields: dict[str, Any]

    def whole(self, document_id: str) -> dict[str, Any]:
        """The document as a read gives it."""
        return {"_id": document_id, "_creationTime": self.time, **self.fields}


class Index(NamedTuple):
    name: str
    fields: tuple[str, ...]
    is_unique: bool = False


@dataclass
class Table:
    """One table at one commit."""

    types: dict[str, Any] | None = None
    indexes: tuple[Index, ...] = ()
    documents: dict[str, Stored] = field(default_factory=dict)

    def copy(self) -> Table:
        return Table(self.types, self.indexes, dict(self.documents))

    def index_fields(self, name: str | None) -> tuple[str, ...]:
        if name is None or name == "by_creation_time":
            return ("_creationTime", "_id")
        if name == "by_id":
            return ("_id",)
        for index in self.indexes:
            if index.name == name:
                return (*index.fields, "_creationTime", "_id")
        raise ModelError("IndexRangeError")

    def in_order(self, index: str | None, order: str) -> list[dict[str, Any]]:
        """Every document, sorted as the index sorts."""
        fields = self.index_fields(index)

        def by_key(a: dict[str, Any], b: dict[str, Any]) -> int:
            keys = ([value_at(each, path) for path in fields] for each in (a, b))
            return _compare_sequences(*keys)

        found = [stored.whole(key) for key, stored in self.documents.items()]
        return sorted(found, key=functools.cmp_to_key(by_key), reverse=order == "desc")

    def clash(self, document_id: str | None, fields: dict[str, Any]) -> bool:
        """Whether another document has the same values in a unique index, none of them null."""
        for index in self.indexes:
            if not index.is_unique:
                continue
            key = [value_at(fields, path) for path in index.fields]
            if any(part is None or isinstance(part, Missing) for part in key):
                continue
            for other, stored in self.documents.items():
                theirs = [value_at(stored.fields, path) for path in index.fields]
                if other != document_id and _compare_sequences(key, theirs) == 0:
                    return True
        return False

    def check(self, document_id: str | None, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields as they would be kept."""
        kept = fields if self.types is None else convert_object(self.types, fields)
        if kept is REFUSED:
            raise ModelError("SchemaEnforcementError")
        if self.clash(document_id, kept):
            raise ModelError("UniqueError")
        return kept


Tables = dict[str, Table]


@dataclass
class Version:
    """One version of a document, from the commit that wrote it until the one that ended it."""

    since: int
    until: int | None
    stored: Stored


@dataclass
class Model:
    """A workspace: its tables at `number`, and all versions and schemas there ever were."""

    number: int = 0
    tables: Tables = field(default_factory=dict)
    history: dict[tuple[str, str], list[Version]] = field(default_factory=dict)

    shapes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """The types and indexes of all tables, from each commit on that changed them."""

    def shapes_at(self, number: int) -> dict[str, Any]:
        """The types and indexes of the tables at a commit."""
        known = [shapes for since, shapes in self.shapes if since <= number]
        return known[-1] if known else {}

    def past(self, number: int) -> Model:
        """The model as it was at a commit."""
        tables = {name: Table(*shape) for name, shape in self.shapes_at(number).items()}
        for (name, document_id), versions in self.history.items():
            for each in versions:
                if each.since <= number and (each.until is None or number < each.until):
                    tables[name].documents[document_id] = each.stored
        return Model(number, tables)

    def changes(self, since: int) -> list[tuple[Any, ...]]:
        """(number, table, id, document before, and after) of each that commits changed."""
        found: dict[tuple[int, str, str], list[Any]] = {}
        for (name, document_id), versions in self.history.items():
            for each in versions:
                for at, number in enumerate((each.until, each.since)):
                    if number is not None and number > since:
                        key = (number, name, document_id)
                        found.setdefault(key, [None, None])[at] = each.stored
        return [(*key, *stored) for key, stored in sorted(found.items())]

    def undo(self, number: int) -> Tables:
        """The tables after a commit was undone. Raises: ModelError."""
        changed = [each for each in self.changes(number - 1) if each[0] == number]
        before, after = self.shapes_at(number - 1), self.shapes_at(number)
        is_touched = any(
            _told(self._now(name, document_id)) != _told(new)
            for _, name, document_id, _, new in changed
            if document_id in {each[2] for each in self.changes(number)}
        )
        back = before.keys() - after.keys()
        names = {each[1] for each in changed} - back
        is_dropped = any(since > number and names - each.keys() for since, each in self.shapes)
        is_defined = any(after[name] != before[name] for name in before.keys() - back)
        is_taken = bool(back & self.tables.keys())
        is_nothing = not changed and not back
        if is_nothing or is_touched or is_dropped or is_defined or is_taken:
            raise ModelError("UndoError")
        tables = {name: table.copy() for name, table in self.tables.items()}
        tables |= {name: Table(*before[name]) for name in back}
        for _, name, document_id, _, new in changed:
            if new is not None:
                del tables[name].documents[document_id]
        try:
            for _, name, document_id, old, _ in changed:
                if old is not None:
                    kept = tables[name].check(None, old.fields)
                    tables[name].documents[document_id] = Stored(old.time, kept)
        except ModelError:
            raise ModelError("UndoError") from None
        return tables

    def _now(self, name: str, document_id: str) -> Stored | None:
        table = self.tables.get(name)
        return None if table is None else table.documents.get(document_id)

    def commit(self, tables: Tables, *, is_forced: bool = False) -> None:
        """Make `tables` the newest state; a change of nothing gets no number."""
        changes = list(_changes(self.tables, tables))
        is_renamed = {n: (t.types, t.indexes) for n, t in tables.items()} != {
            n: (t.types, t.indexes) for n, t in self.tables.items()
        }
        if changes or is_renamed or is_forced:
            self.number += 1
        if is_renamed:
            shapes = {name: (table.types, table.indexes) for name, table in tables.items()}
            self.shapes.append((self.number, shapes))
        for name, document_id, new in changes:
            versions = self.history.setdefault((name, document_id), [])
            if versions and versions[-1].until is None:
                versions[-1].until = self.number
            if new is not None:
                versions.append(Version(self.number, None, new))
        self.tables = tables


def _changes(before: Tables, after: Tables) -> Iterator[tuple[str, str, Stored | None]]:
    for name in before.keys() | after.keys():
        old = before[name].documents if name in before else {}
        new = after[name].documents if name in after else {}
        for document_id in old.keys() | new.keys():
            was, is_now = old.get(document_id), new.get(document_id)
            if was is is_now:
                continue
            if was is None or is_now is None or exact(was.fields) != exact(is_now.fields):
                yield name, document_id, is_now


# -- queries ---------------------------------------------------------------------------------------


class Bound(NamedTuple):
    field: str
    value: Any
    is_inclusive: bool


@dataclass(frozen=True)
class Spec:
    """A query: what to read, in which order, through which filters, and by which verb."""

    table: str
    index: str | None = None
    equal: tuple[tuple[str, Any], ...] = ()
    lower: Bound | None = None
    upper: Bound | None = None
    order: str = "asc"
    filters: tuple[Any, ...] = ()
    verb: str = "collect"
    count: int = 0
    nested: str | None = None
    """The name of a query to run instead, in the same transaction."""


def run(spec: Spec, tables: Tables, queries: Mapping[str, Spec]) -> Any:
    """What the query gives; ModelError where it must fail."""
    if spec.nested is not None:
        return {"inner": run(queries[spec.nested], tables, queries)}
    table = tables.get(spec.table)
    if spec.verb == "count":
        return 0 if table is None else len(table.documents)
    found = iter(()) if table is None else _scan(spec, table)
    if spec.verb == "collect":
        return list(found)
    if spec.verb == "page":
        page = _take(found, spec.count)
        return {"page": page, "isDone": len(page) < spec.count}
    if spec.verb == "take":
        return _take(found, spec.count)
    taken = _take(found, 1 if spec.verb == "first" else 2)
    if len(taken) > 1:
        raise ModelError("NotUniqueError")
    return taken[0] if taken else None


def _take(found: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return [row for _, row in zip(range(count), found, strict=False)]


def _scan(spec: Spec, table: Table) -> Iterator[dict[str, Any]]:
    _check_range(spec, table.index_fields(spec.index))
    # Lazily: a filter that fails on a document beyond the last one taken does not fail.
    for document in table.in_order(spec.index, spec.order):
        if _in_range(spec, document) and all(_passes(tree, document) for tree in spec.filters):
            yield document


def _check_range(spec: Spec, fields: tuple[str, ...]) -> None:
    """Equalities on the first fields of the index, bounds on the next one."""
    equal = {path for path, _ in spec.equal}
    bounded = {bound.field for bound in (spec.lower, spec.upper) if bound is not None}
    if equal != set(fields[: len(equal)]) or not bounded <= set(fields[len(equal) :][:1]):
        raise ModelError("IndexRangeError")


def _in_range(spec: Spec, document: dict[str, Any]) -> bool:
    for path, value in spec.equal:
        if compare(value_at(document, path), value) != 0:
            return False
    for bound, sign in ((spec.lower, 1), (spec.upper, -1)):
        if bound is not None:
            side = compare(value_at(document, bound.field), bound.value) * sign
            if side < 0 or (side == 0 and not bound.is_inclusive):
                return False
    return True


_COMPARISONS = {
    "eq": lambda c: c == 0,
    "neq": lambda c: c != 0,
    "lt": lambda c: c < 0,
    "lte": lambda c: c <= 0,
    "gt": lambda c: c > 0,
    "gte": lambda c: c >= 0,
}


def _passes(tree: Any, document: dict[str, Any]) -> bool:
    return _boolean(evaluate(tree, document))


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ModelError("FilterError")
    return value


def evaluate(tree: Any, document: dict[str, Any]) -> Any:
    """The value of a filter expression for one document."""
    name, *parts = tree
    match name:
        case "value":
            return parts[0]
        case "field":
            return value_at(document, parts[0])
        case "and":
            return all(_boolean(evaluate(part, document)) for part in parts)
        case "or":
            return any(_boolean(evaluate(part, document)) for part in parts)
        case "not":
            return not _boolean(evaluate(parts[0], document))
        case "add":
            return _add(*(evaluate(part, document) for part in parts))
    left, right = (evaluate(part, document) for part in parts)
    return _COMPARISONS[name](compare(left, right))


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, Int64) and isinstance(right, Int64):
        total = int(left) + int(right)
        if not -(2**63) <= total < 2**63:
            raise ModelError("FilterError")
        return Int64(total)
    for value in (left, right):
        is_number = isinstance(value, (int, float)) and not isinstance(value, (bool, Int64))
        if not is_number:
            raise ModelError("FilterError")
    return float(left) + float(right)


def _told(stored: Stored | None) -> str:
    """A document to the last bit, whatever the order of its fields."""
    return "" if stored is None else repr((stored.time, sorted(stored.fields.items())))
