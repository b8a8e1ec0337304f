"""`db.env`: the environment variables of a workspace, from a cell."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from livedb.errors import InvalidValueError
from livedb.functions.environment import no_variable
from livedb.functions.system_functions import READ_ENVIRONMENT, UPDATE_ENVIRONMENT, system_function

if TYPE_CHECKING:
    from livedb.client.database import Database


class EnvironmentVariables(MutableMapping[str, str]):
    """The environment variables of a workspace, kept in it: `db.env["API_KEY"] = "secret"`.

    Functions read them as `ctx.env`, and live queries that read one follow it. Each assignment is a
    commit; over a service this takes an owner or editor.

    Raises:
        InvalidValueError: a name or a value that is none, or too many of them.
        PermissionDeniedError: to a member or viewer of a service, reading included.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getitem__(self, name: str) -> str:
        found = self._read()
        if name not in found:
            raise no_variable(name)
        return found[name]

    def __setitem__(self, name: str, value: str) -> None:
        if value is None:  # a change without a value removes, which nobody means who has none
            raise InvalidValueError(
                f"The value of {name} is a text, not None; `del db.env[{name!r}]` removes it"
            )
        self._run(UPDATE_ENVIRONMENT, changes=[{"name": name, "value": value}])

    def __delitem__(self, name: str) -> None:
        if name not in self._read():
            raise no_variable(name)
        self._run(UPDATE_ENVIRONMENT, changes=[{"name": name}])

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        """The names: a value may be a secret, and a notebook is shown to others."""
        return f"<environment variables: {', '.join(sorted(self)) or 'none'}>"

    def _read(self) -> dict[str, str]:
        found: dict[str, str] = self._run(READ_ENVIRONMENT)
        return found

    def _run(self, name: str, **args: Any) -> Any:
        return self._database.backend.run(system_function(name), args)
