"""Index ranges: equalities on a prefix of an index's fields, then bounds on the next field.

Source: spec semantics.md 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from livedb.canonical import canonical
from livedb.errors import IndexRangeError
from livedb.keys.encoding import encode_key, prefix_end
from livedb.schema.tables import TableDefinition
from livedb.values import UNSET, Missing, Value

BUILT_IN = {"by_id": ("_id",), "by_creation_time": ("_creationTime", "_id")}


class KeyRange(NamedTuple):
    """Encoded bounds of a scan: lower <= key < upper, all under `prefix`."""

    prefix: bytes
    lower: bytes
    upper: bytes | None

    @property
    def is_empty(self) -> bool:
        """Whether no key can lie in it."""
        return self.upper is not None and self.lower >= self.upper


class IndexRangeBuilder:
    """What the function given to `.with_index` receives; each method returns the builder."""

    def __init__(self) -> None:
        self.equalities: dict[str, Value | Missing] = {}
        self.lower: tuple[str, Value | Missing, bool] | None = None
        self.upper: tuple[str, Value | Missing, bool] | None = None

    def eq(self, field: str, value: Any) -> IndexRangeBuilder:
        """Documents whose `field` equals `value`; UNSET matches absent, None matches null."""
        if field in self.equalities:
            raise _already("equality", f"eq({field!r})")
        self.equalities[field] = key_value(value)
        return self

    def gt(self, field: str, value: Any) -> IndexRangeBuilder:
        """Documents whose `field` is greater than `value`."""
        return self._below(field, value, is_inclusive=False)

    def gte(self, field: str, value: Any) -> IndexRangeBuilder:
        """Documents whose `field` is `value` or greater."""
        return self._below(field, value, is_inclusive=True)

    def lt(self, field: str, value: Any) -> IndexRangeBuilder:
        """Documents whose `field` is less than `value`."""
        return self._above(field, value, is_inclusive=False)

    def lte(self, field: str, value: Any) -> IndexRangeBuilder:
        """Documents whose `field` is `value` or less."""
        return self._above(field, value, is_inclusive=True)

    def _below(self, field: str, value: Any, *, is_inclusive: bool) -> IndexRangeBuilder:
        if self.lower is not None:
            raise _already("lower", f"a lower bound on {field!r}")
        self.lower = (field, key_value(value), is_inclusive)
        self._check_one_field()
        return self

    def _above(self, field: str, value: Any, *, is_inclusive: bool) -> IndexRangeBuilder:
        if self.upper is not None:
            raise _already("upper", f"an upper bound on {field!r}")
        self.upper = (field, key_value(value), is_inclusive)
        self._check_one_field()
        return self

    def _check_one_field(self) -> None:
        if self.lower and self.upper and self.lower[0] != self.upper[0]:
            raise IndexRangeError(
                f"Bounds on two fields, {self.lower[0]!r} and {self.upper[0]!r}: an index range "
                "has its lower and upper bound on the same field",
                code="BoundsOnMultipleFields",
            )


def key_value(value: Any) -> Value | Missing:
    """The value that a field is compared with; UNSET stands for an absent field."""
    return UNSET if isinstance(value, Missing) else canonical(value)


def _already(kind: str, added: str) -> IndexRangeError:
    return IndexRangeError(
        f"Already defined {kind} bound in index range. Can't add {added}.",
        code="AlreadyDefinedBound",
    )


def index_fields(definition: TableDefinition, index: str) -> tuple[str, ...]:
    """All fields an index orders by, the implicit ones included.

    Raises:
        IndexRangeError: IndexNotFoundError, naming the indexes there are.
    """
    if index in BUILT_IN:
        return BUILT_IN[index]
    for declared in definition.indexes:
        if declared.name == index:
            return (*declared.fields, "_creationTime", "_id")
    if any(index == searched.name for searched in definition.searched_indexes):
        raise IndexRangeError(
            f"Index {definition.name}.{index} is for searches: use .with_search_index() or "
            ".with_vector_index()",
            code="IndexNotFoundError",
        )
    names = [*(declared.name for declared in definition.indexes), *BUILT_IN]
    raise IndexRangeError(
        f"Index {definition.name}.{index} not found. "
        f"Table {definition.name!r} has {', '.join(map(repr, names))}.",
        code="IndexNotFoundError",
    )


def key_range(
    definition: TableDefinition,
    index: str,
    build: Callable[[IndexRangeBuilder], IndexRangeBuilder] | None,
    equalities: Mapping[str, Any],
) -> KeyRange:
    """The encoded range that `build` and keyword equalities describe."""
    fields = index_fields(definition, index)
    if build is None and not equalities:
        return KeyRange(b"", b"", None)
    builder = IndexRangeBuilder()
    for field, value in equalities.items():
        builder.eq(field, value)
    if build is not None and build(builder) is not builder:
        raise IndexRangeError(
            "The function given to .with_index() must return the range it builds, as in "
            'lambda q: q.eq("user", me).gt("due", now)'
        )
    return _encode(f"{definition.name}.{index}", fields, builder)


def _encode(name: str, fields: tuple[str, ...], builder: IndexRangeBuilder) -> KeyRange:
    equal = builder.equalities
    prefix = b"".join(encode_key(equal[field]) for field in fields[: len(equal)] if field in equal)
    bound = builder.lower or builder.upper
    used = [*equal, *([bound[0]] if bound else [])]
    for field in used:
        if field not in fields:
            raise IndexRangeError(
                f"The index {name} does not have the field {field!r}; "
                f"it has {', '.join(map(repr, fields))}.",
                code="FieldNotInIndex",
            )
    expected = set(fields[: len(equal)])
    in_order = expected == set(equal) and (
        bound is None or (len(equal) < len(fields) and bound[0] == fields[len(equal)])
    )
    if not in_order:
        raise _out_of_order(name, fields, used)
    lower = prefix
    upper = prefix_end(prefix) if prefix else None
    if builder.lower is not None:
        key = prefix + encode_key(builder.lower[1])
        lower = key if builder.lower[2] else (prefix_end(key) or key)
    if builder.upper is not None:
        key = prefix + encode_key(builder.upper[1])
        upper = prefix_end(key) if builder.upper[2] else key
    return KeyRange(prefix, lower, upper)


def _out_of_order(name: str, fields: tuple[str, ...], used: list[str]) -> IndexRangeError:
    wrong = next((f for at, f in enumerate(used) if at >= len(fields) or f != fields[at]), used[-1])
    return IndexRangeError(
        f"Tried to query index {name} but the query didn't use the index fields in order.\n"
        f"Index fields: {list(fields)}\nQuery fields: {used}\n"
        f"First incorrect field: {wrong!r}",
        code="InvalidIndexRange",
    )
