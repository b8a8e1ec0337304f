"""Types of documents as older Convex exports state them in `generated_schema.jsonl`.

Those exports write an int64, bytes, NaN and the infinities as plain text, and beside a table's
documents the *shape* of the table, `{"n": int64 | null, "tags"?: array<string>}`. Text where the
shape allows one reading only is read so. Where it allows several, text is text, unless the lines
after the shape say otherwise for that document: `{"<id>": {"n": "int64"}}`.

Source: the format as Convex documents and tests it (features.md 16); read only, never written.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from livedb.errors import InvalidValueError, LoadError
from livedb.values import Int64, Value

Reading: TypeAlias = Literal["text", "int64", "float64inf", "nan", "bytes"]
"""What a text in a document may stand for."""

_NESTING_MAX = 128
_ALL: frozenset[Reading] = frozenset({"text", "int64", "float64inf", "nan", "bytes"})
_NONE: frozenset[Reading] = frozenset()

_WORDS: dict[str, frozenset[Reading]] = {
    "never": _NONE,
    "null": _NONE,
    "int64": frozenset({"int64"}),
    "float64": frozenset({"nan", "float64inf"}),
    "-inf": frozenset({"float64inf"}),
    "inf": frozenset({"float64inf"}),
    "-0": _NONE,
    # Several, so that only a document's own line can say it: it may be any NaN.
    "NaN": frozenset({"nan", "float64inf"}),
    "normalfloat64": _NONE,
    "boolean": _NONE,
    "field_name": frozenset({"text"}),
    "string": frozenset({"text"}),
    "bytes": frozenset({"bytes"}),
}
_TOKEN = re.compile(r'"[^"]*"\??|[A-Za-z_]\w*|-inf|-0|[{}<>,:|]|\d+|\s+')
_INT64_TEXT = re.compile(r"-?[0-9]{1,19}")


@dataclass(slots=True)
class Shape:
    """What a value may be: the readings of a text, and the shapes of what is inside."""

    readings: frozenset[Reading] = _NONE
    items: list[Shape] = field(default_factory=list)
    fields: list[Mapping[str, Shape]] = field(default_factory=list)
    others: list[Shape] = field(default_factory=list)
    """Of fields that no object of the union names."""

    def at(self, name: str) -> Shape:
        """The shape of a field."""
        return joined([*(each[name] for each in self.fields if name in each), *self.others])

    def item(self) -> Shape:
        """The shape of an item of an array."""
        return joined(self.items)


_TEXT = Shape(frozenset({"text"}))
_UNKNOWN = Shape(_ALL)
_UNKNOWN.items.append(_UNKNOWN)
_UNKNOWN.others.append(_UNKNOWN)


def joined(shapes: Sequence[Shape]) -> Shape:
    """The union of shapes."""
    if len(shapes) == 1:
        return shapes[0]
    return Shape(
        frozenset().union(*(each.readings for each in shapes)),
        [item for each in shapes for item in each.items],
        [fields for each in shapes for fields in each.fields],
        [other for each in shapes for other in each.others],
    )


def parse_shape(text: str) -> Shape:
    """The shape that a text states.

    Raises:
        LoadError: it states none.
    """
    tokens: list[str] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise LoadError(f"the shape cannot be read from {text[at : at + 40]!r}")
        at = found.end()
        if not found[0].isspace():
            tokens.append(found[0])
    parser = _Parser(tokens)
    shape = parser.union(0)
    parser.expect("")
    return shape


class _Parser:
    """Reads a shape from its tokens, last one first off the list."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = ["", *reversed(list(tokens))]

    def expect(self, token: str) -> None:
        found = self._next()
        if found != token:
            raise LoadError(f"the shape has {found!r} where {token!r} is expected")

    def union(self, depth: int) -> Shape:
        if depth > _NESTING_MAX:
            raise LoadError("the shape is nested too deeply")
        parts = [self._part(depth)]
        while self._tokens[-1] == "|":
            self._next()
            parts.append(self._part(depth))
        return joined(parts)

    def _next(self) -> str:
        return self._tokens.pop() if len(self._tokens) > 1 else self._tokens[0]

    def _part(self, depth: int) -> Shape:
        token = self._next()
        if token in _WORDS:
            return Shape(_WORDS[token])
        if token.startswith('"'):
            return _TEXT
        match token:
            case "unknown":
                return _UNKNOWN
            case "{":
                return Shape(fields=[self._object(depth)])
            case "id":
                self.expect("<")
                self._next()
                self.expect(">")
                return _TEXT
            case "array":
                (item,) = self._inside(1, depth)
                return Shape(items=[item])
            case "record":
                _, value = self._inside(2, depth)
                return Shape(others=[value])
            case _:
                raise LoadError(f"the shape has {token!r}, which livedb has no value for")

    def _inside(self, count: int, depth: int) -> list[Shape]:
        self.expect("<")
        shapes = [self.union(depth + 1)]
        while len(shapes) < count:
            self.expect(",")
            shapes.append(self.union(depth + 1))
        self.expect(">")
        return shapes

    def _object(self, depth: int) -> Mapping[str, Shape]:
        fields: dict[str, Shape] = {}
        while (token := self._next()) != "}":
            if not token.startswith('"'):
                raise LoadError(f"the shape has {token!r} where a field is expected")
            self.expect(":")
            fields[token.removesuffix("?")[1:-1]] = self.union(depth + 1)
            if self._tokens[-1] == ",":
                self._next()
        return fields


def read_value(value: Any, shape: Shape, hint: Any = None) -> Value:
    """The value that JSON stands for.

    Args:
        hint: what the document's own line says of it; None for nothing.

    Raises:
        InvalidValueError: it stands for none.
    """
    if type(value) is str:
        return _read_text(value, shape.readings, hint)
    if type(value) is int:
        return float(value)
    if type(value) is list:
        hints = hint if isinstance(hint, list) and len(hint) == len(value) else [None] * len(value)
        item = shape.item()
        return [read_value(each, item, said) for each, said in zip(value, hints, strict=True)]
    if type(value) is dict:
        said = hint if isinstance(hint, dict) else {}
        return {
            name: read_value(each, shape.at(name), said.get(name)) for name, each in value.items()
        }
    return value


def _read_text(text: str, readings: frozenset[Reading], hint: Any) -> Value:
    reading: Any = hint
    if isinstance(hint, dict) and "$float64NaN" in hint:
        reading = "nan"
    if reading in (None, "infer"):
        reading = next(iter(readings)) if len(readings) == 1 else "text"
    match reading:
        case "text":
            return text
        case "int64" if _INT64_TEXT.fullmatch(text) and -(1 << 63) <= int(text) < 1 << 63:
            return Int64(int(text))
        case "float64inf" if text in ("Infinity", "-Infinity"):
            return math.inf if text == "Infinity" else -math.inf
        case "nan" if text == "NaN":
            return math.nan
        case "bytes":
            try:
                return base64.b64decode(text, validate=True)
            except ValueError:
                pass
    raise InvalidValueError(f"{text[:40]!r} is no {reading}, which generated_schema.jsonl says")
