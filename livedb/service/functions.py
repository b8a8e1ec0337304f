"""Which function a path on the wire names, and its arguments.

Source: spec sync-protocol.md 3.
"""

from __future__ import annotations

from livedb.auth.access import Permission
from livedb.errors import FunctionNotFoundError, InvalidValueError
from livedb.functions import crons
from livedb.functions.definition import OWN, FunctionDefinition, FunctionKind, Registry
from livedb.functions.system_functions import READ_ENVIRONMENT, UPDATE_ENVIRONMENT
from livedb.protocol.paths import canonical_path
from livedb.values import Value

CELLS = "cells"
"""The module under which clients reach functions that a cell defines: `cells:add_task`."""

_OF_SETTINGS = frozenset(
    {READ_ENVIRONMENT, UPDATE_ENVIRONMENT, crons.LIST, crons.SET, crons.REMOVE}
)
"""What `db.env` and `db.crons` call."""


def own_permission(name: str) -> Permission | None:
    """What it takes to call one of livedb's own functions; None of any other function.

    They are the same everywhere, so that whoever may not call one is told so by our own clients. Of
    a user's internal functions nobody else learns that there are any.
    """
    if name in _OF_SETTINGS:
        return Permission.CONFIGURE
    return Permission.CALL_INTERNAL if name.startswith(OWN) else None


def registered_name(registry: Registry, path: str, component: str | None = None) -> str:
    """The name under which the function of a path is, or would be, registered.

    Raises:
        FunctionNotFoundError: it is of a component, of which there are none here.
    """
    if component:
        raise FunctionNotFoundError(
            f"Could not find function for '{path}': there is no component {component!r}."
        )
    canonical = canonical_path(path)
    module, _, function = canonical.rpartition(":")
    names = [canonical]
    if function == "default":
        names.append(module)
    if module == CELLS:
        names.append(function)
    return next((name for name in names if registry.find(name) is not None), names[-1])


def find_function(
    registry: Registry,
    path: str,
    component: str | None = None,
    *,
    kind: FunctionKind | None,
    sees_internal: bool,
) -> FunctionDefinition:
    """The function of a path.

    Raises:
        FunctionNotFoundError: there is none that the caller may see; the text is the one that the
            official clients know.
    """
    found = registry.find(registered_name(registry, path, component))
    if found is not None and found.kind == "http_action":
        found = None  # its name is a route, and it answers requests only
    if found is None or (found.visibility != "public" and not sees_internal):
        word = "" if sees_internal else "public "
        raise FunctionNotFoundError(f"Could not find {word}function for '{path}'.")
    if kind is not None and found.kind != kind:
        raise FunctionNotFoundError(
            f"Trying to execute {path} as a {kind.capitalize()}, but it is defined as a "
            f"{found.kind.capitalize()}."
        )
    return found


def read_object(value: Value) -> dict[str, Value]:
    """Arguments by wire name; not yet validated.

    Raises:
        InvalidValueError: they are no object.
    """
    if not isinstance(value, dict):
        raise InvalidValueError(f"Arguments are one object, not {type(value).__name__}")
    return value
