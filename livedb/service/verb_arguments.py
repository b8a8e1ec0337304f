"""The arguments of a verb of livedb's own client, checked as they are read, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from livedb.errors import InvalidValueError
from livedb.service.outcomes import Dialect
from livedb.values import Value

if TYPE_CHECKING:
    from livedb.past.view import Past


class Follower(Protocol):
    """A connection that calls."""

    def when_level(self, tell: Callable[[], object], /) -> None:
        """Have `tell` called when the connection shows all that has been told by now."""


class Asked(NamedTuple):
    """What a client follows: a path, the component it is of, and arguments."""

    path: str
    of: str | None
    args: dict[str, Any]


class Given:
    """A verb's arguments, checked as they are read."""

    def __init__(
        self,
        verb: str,
        dialect: Dialect,
        connection: Follower | None,
        call_named: Callable[[str, str], None],
    ) -> None:
        self.verb = verb
        self.fields: Mapping[str, Value] = {}
        """What was sent, once it is read."""
        self.past: Past | None = None
        """The commit to read, if not the newest."""
        self.dialect = dialect
        """How outcomes look to the caller."""
        self.connection = connection
        """Of whom; only that it is the same matters."""
        self.call_named = call_named
        """To be told which function a verb calls, and of which kind it is taken for."""

    def text(self, name: str) -> str:
        """The field `name`, a text."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a text")
        return value

    def whole(self, name: str) -> int:
        """The field `name`, a whole number from 0 on."""
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(name, "a whole number")
        return value

    def object(self, name: str) -> dict[str, Any]:
        """The field `name`, an object."""
        value = self.fields.get(name)
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return value

    def versions(self, name: str) -> list[tuple[str, int]]:
        """The field `name`, functions by name with their versions."""
        try:
            return msgspec.convert(self.fields.get(name), list[tuple[str, int]])
        except msgspec.ValidationError:
            raise self._wrong(name, "a list of names with versions") from None

    def followed(self, name: str) -> list[Asked]:
        """The field `name`, what a client follows."""
        try:
            return msgspec.convert(self.fields.get(name), list[Asked])
        except msgspec.ValidationError:
            raise self._wrong(name, "a list of paths with arguments") from None

    def optional(self, name: str) -> Any:
        """The field `name`, which may be absent and is looked at by whoever uses it."""
        return self.fields.get(name)

    def _wrong(self, name: str, wanted: str) -> InvalidValueError:
        found = type(self.fields.get(name)).__name__
        return InvalidValueError(
            f"{self.verb}: {name!r} is {wanted}, and {found} came", path=f".{name}"
        )


class Answer(NamedTuple):
    """A verb's result: a value, attachments, and the commit's ts when it committed."""

    value: Value = None
    attachments: tuple[bytes, ...] = ()
    ts: int | None = None
