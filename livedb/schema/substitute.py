"""A validator with one part of it exchanged: what a redefined table means for whoever names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from livedb.schema.validators import (
    ArrayValidator,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    Validator,
)


def substitute(validator: Validator, old: Validator, new: Validator) -> Validator:
    """`validator` with `new` wherever it holds `old`; itself when it holds none.

    What was optional stays so.
    """
    if validator.required() == old:
        return new.optional() if validator.is_optional else new
    return _with_parts(validator, lambda part: substitute(part, old, new))


def _with_parts(validator: Validator, exchange: Callable[[Validator], Validator]) -> Validator:
    changed: Validator
    match validator:
        case ArrayValidator():
            changed = replace(validator, element=exchange(validator.element))
        case RecordValidator():
            changed = replace(
                validator, keys=exchange(validator.keys), values=exchange(validator.values)
            )
        case UnionValidator():
            changed = replace(validator, members=tuple(map(exchange, validator.members)))
        case ObjectValidator():
            items = tuple((name, exchange(part)) for name, part in validator.items)
            changed = replace(validator, items=items)
        case _:
            return validator
    return validator if changed == validator else changed
