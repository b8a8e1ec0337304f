"""JSON in base64 from people nobody knows yet: an object with one meaning, or nothing."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any, NoReturn

from livedb.limits import VALUE_NESTING_MAX

_URL_SAFE = str.maketrans("+/", "-_")


def decode_object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, base64 of either alphabet, padded or not; None where it is none.

    None also where readers would differ about it: a name twice in one object, NaN, half a surrogate
    pair; and where it is nested more deeply than a value may be.
    """
    bare = text.rstrip("=").translate(_URL_SAFE)
    try:
        decoded = json.loads(
            urlsafe_b64decode(bare + "=" * (-len(bare) % 4)).decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
        if not isinstance(decoded, dict) or not _is_shallow(decoded):
            return None
        json.dumps(decoded, ensure_ascii=False).encode("utf-8")  # half a pair has no UTF-8
    except (ValueError, RecursionError):
        return None
    return decoded


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(VALUE_NESTING_MAX + 1):
        level = [item for container in level for item in _items(container)]
        if not level:
            return True
    return False


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
