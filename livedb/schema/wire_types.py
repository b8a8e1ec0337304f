"""What a type is for Convex's tools: `integer` and `datetime`, which are ours, are numbers."""

from __future__ import annotations

from typing import Any

_OURS = {"integer": "number", "datetime": "number"}


def wire_json(data: Any) -> Any:
    """Validator JSON as Convex's tools read it."""
    if isinstance(data, list):
        return [wire_json(each) for each in data]
    if not isinstance(data, dict):
        return data
    if data.get("type") == "literal":
        return data  # its value is a value, whatever it looks like
    if data.get("type") in _OURS and len(data) == 1:
        return {"type": _OURS[data["type"]]}
    return {name: wire_json(each) for name, each in data.items()}
