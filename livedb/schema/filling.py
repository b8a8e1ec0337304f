"""What a schema change fills into documents that lack it: the defaults of required fields.

A cell that adds `status: str = "todo"` to a table with documents means that they, too, get "todo".
A field that may be absent is left alone: a document without it fits as it is, and may lack it on
purpose. So is one that has a value already, whatever the default was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from livedb.errors import ValidationError
from livedb.schema.check import Fields, compile_filler
from livedb.schema.explain import NO_MATCH
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import (
    REFUSED,
    ArrayValidator,
    ObjectValidator,
    RecordValidator,
    TableNumbers,
    UnionValidator,
    Validator,
)
from livedb.values import Value


class Filling:
    """The defaults that documents of a table must have, as its definition says.

    Attributes:
        defaults: by path, as in `TableDefinition.defaults`, each as it would be stored.
        top_level: the fields among them that are the document's own.
    """

    def __init__(self, definition: TableDefinition) -> None:
        self._document = definition.document
        self.defaults: Mapping[str, Value] = MappingProxyType(_required_defaults(definition))
        self.top_level = frozenset(path for path in self.defaults if "." not in path)
        self._fill = compile_filler(self.defaults.items())

    @property
    def has_nested(self) -> bool:
        """Whether some default belongs inside an object, so that each must be looked into."""
        return len(self.top_level) < len(self.defaults)

    def touches(self, paths: Iterable[str]) -> bool:
        """Whether some of `paths`, of an index, may be filled."""
        roots = {path.split(".")[0].rstrip("[]") for path in self.defaults}
        return any(path.split(".")[0] in roots for path in paths)

    def fill(self, fields: Fields) -> Fields:
        """`fields` with the defaults it lacks, last; `fields` itself is not changed."""
        return self._fill(fields) if self.defaults else fields

    def refusal(self, fields: Fields, tables: TableNumbers | None) -> str:
        """Where and why the document, filled, does not fit, in one line; it must not."""
        assert self._document is not None
        try:
            self._document.check(self.fill(fields), tables=tables)
        except ValidationError as error:
            headline = error.message.partition("\n")[0].removeprefix(NO_MATCH)
            return f"{error.path}: {headline}" if error.path else headline
        raise AssertionError("a document that was refused must be refused again")


def _required_defaults(definition: TableDefinition) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for path, value in definition.defaults.items():
        target = _target(definition.document, path.split("."))
        if target is not None and not target.is_optional:
            stored = target.compiled(value, None)
            if stored is not REFUSED:
                found[path] = stored
    return found


def _target(validator: Validator | None, path: Sequence[str]) -> Validator | None:
    """The type of what is at `path`; None when there can be nothing, or not one thing."""
    if not path:
        return validator
    match validator:
        case ObjectValidator():
            name = path[0].rstrip("[]")
            inner = _elements(validator.fields.get(name), path[0].count("[]"))
            return _target(inner, path[1:])
        case UnionValidator():
            targets = [_target(member, path) for member in validator.members]
            known = [target for target in targets if target is not None]
            return known[0] if len(known) == 1 else None
    return None


def _elements(validator: Validator | None, depth: int) -> Validator | None:
    """The type of what is `depth` arrays or records further in."""
    if depth == 0:
        return validator
    match validator:
        case ArrayValidator():
            return _elements(validator.element, depth - 1)
        case RecordValidator():
            return _elements(validator.values, depth - 1)
        case UnionValidator():
            found = [_elements(member, depth) for member in validator.members]
            known = [each for each in found if each is not None]
            return known[0] if len(known) == 1 else None
    return None
