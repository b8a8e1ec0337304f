"""What travels: a function as plain data, which both ends read alike.

A parcel is a list of *things* that name each other by their position, and the function is the one
at `root`. Source travels as text, values as livedb's text form, everything installed as the name
to import it by. Nothing in a parcel is ever unpickled.

Two functions of one parcel may mean different things by one name (they may come from different
cells, modules or closures), so each carries its own names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from livedb.errors import TravelError
from livedb.functions.cors import Cors
from livedb.functions.definition import FunctionKind
from livedb.limits import (
    TRAVEL_HELPERS_MAX,
    TRAVEL_SOURCE_BYTES_MAX,
    TRAVEL_THINGS_MAX,
    TRAVEL_VALUE_BYTES_MAX,
)

Visibility = Literal["public", "internal"]
SourceForm = Literal["function", "lambda", "class", "assignment"]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of source.

    Attributes:
        form: how it is read: a `def`, a lambda in parentheses, a `class`, or `X = call(...)`.
        name: what it defines.
        text: whole lines as written, decorators of livedb blank.
        place: where it was written, "In[5]" or "helpers.py".
        line: the line there of its first line.
        has_text_annotations: whether `from __future__ import annotations` held there.
    """

    form: SourceForm
    name: str
    text: str
    place: str
    line: int
    has_text_annotations: bool = False


class ValueThing(msgspec.Struct, frozen=True, tag="value"):
    """A livedb value, as `livedb.text.encode_value` writes it."""

    text: str


class ListThing(msgspec.Struct, frozen=True, tag="list"):
    """A list of things."""

    items: tuple[int, ...]


class MadeThing(msgspec.Struct, frozen=True, tag="made"):
    """A Python object of a kind of `livedb.travel.made`, made from the thing `of`."""

    kind: str
    of: int


class ModuleThing(msgspec.Struct, frozen=True, tag="module"):
    """An installed module."""

    module: str


class AttributeThing(msgspec.Struct, frozen=True, tag="attribute"):
    """What an installed module has under the dotted `path`."""

    module: str
    path: str


class MemberThing(msgspec.Struct, frozen=True, tag="member"):
    """An attribute of a class: a member of an Enum, a class method, an inner class."""

    of: int
    name: str


class HintThing(msgspec.Struct, frozen=True, tag="hint"):
    """A subscripted type such as `list[str]`."""

    head: int
    arguments: tuple[int, ...]


class ValidatorThing(msgspec.Struct, frozen=True, tag="validator"):
    """A validator of `v`, as Convex's validator JSON."""

    json: Any
    is_optional: bool = False


THE_WORKSPACE = ""
"""The name of the workspace itself, among those of its functions."""


class ReferenceThing(msgspec.Struct, frozen=True, tag="livedb"):
    """A query or mutation of the same workspace, by name; or the workspace, `db` to its users."""

    name: str


class FunctionThing(msgspec.Struct, frozen=True, kw_only=True, tag="function"):
    """A function as source.

    Attributes:
        names: what its code finds around it, closure or global.
        defaults: of its positional parameters, the last ones; None when it has none.
        keyword_defaults: of its keyword-only parameters.
        attributes: what was set on the function object.
    """

    source: Source
    names: dict[str, int]
    defaults: tuple[int, ...] | None = None
    keyword_defaults: dict[str, int] | None = None
    attributes: dict[str, int] = {}


class ClassThing(msgspec.Struct, frozen=True, kw_only=True, tag="class"):
    """A class as source; `table` is the table whose documents it describes."""

    source: Source
    names: dict[str, int]
    table: str | None = None


Thing = (
    ValueThing
    | ListThing
    | MadeThing
    | ModuleThing
    | AttributeThing
    | MemberThing
    | HintThing
    | ValidatorThing
    | ReferenceThing
    | FunctionThing
    | ClassThing
)


class TravellingFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A query or mutation of a cell on its way to a service.

    Attributes:
        args: the validators that its decorator was given, as Convex's validator JSON; None when
            its annotations say them, which the service reads.
        returns: the same for its result.
        alias: wire name by Python name.
        cors: of an HTTP action.
    """

    name: str
    kind: FunctionKind
    visibility: Visibility
    root: int
    things: tuple[Thing, ...]
    args: Any = None
    returns: Any = None
    alias: dict[str, str] | None = None
    cors: Cors | None = None

    def sources(self) -> Iterator[Source]:
        """Every piece of source, the function's own and its helpers'."""
        for thing in self.things:
            if isinstance(thing, FunctionThing | ClassThing):
                yield thing.source

    def modules(self) -> list[str]:
        """The modules that the service must have."""
        found = {
            thing.module for thing in self.things if isinstance(thing, ModuleThing | AttributeThing)
        }
        return sorted(found)

    @property
    def fingerprint(self) -> str:
        """Equal for two captures exactly when the function means the same.

        Where its source stands is left out: a comment above it changes nothing. A helper or
        another global that was changed changes it.
        """
        things = tuple(map(_without_place, self.things))
        data = msgspec.json.encode(msgspec.structs.replace(self, things=things), order="sorted")
        return hashlib.sha256(data).hexdigest()


def _without_place(thing: Thing) -> Thing:
    if not isinstance(thing, FunctionThing | ClassThing):
        return thing
    source = msgspec.structs.replace(thing.source, place="", line=0)
    return msgspec.structs.replace(thing, source=source)


def check_bounds(function: TravellingFunction) -> None:
    """Refuse a parcel that is too large, whichever end made it.

    Raises:
        TravelError: says which bound, and how far the function is beyond it.
    """
    sources = list(function.sources())
    found = (
        ("source", "bytes of source", sum(len(each.text.encode()) for each in sources)),
        ("helpers", "helper functions and classes", len(sources) - 1),
        ("values", "bytes of values", _value_bytes(function)),
        ("things", "names and values", len(function.things)),
    )
    for bound, what, amount in found:
        if amount > _BOUNDS[bound]:
            raise TravelError(
                f"{function.name} cannot travel to the service: it takes {amount:,} {what} along, "
                f"and {_BOUNDS[bound]:,} are allowed. {_ADVICE[bound]}",
                code="TravelTooLarge",
            )


_BOUNDS = {
    "source": TRAVEL_SOURCE_BYTES_MAX,
    "helpers": TRAVEL_HELPERS_MAX,
    "values": TRAVEL_VALUE_BYTES_MAX,
    "things": TRAVEL_THINGS_MAX,
}
_ADVICE = {
    "source": "Put what it uses into a package that is installed on the service.",
    "helpers": "Put what it uses into a package that is installed on the service.",
    "values": "Load its data into a table, and read it with ctx.db.",
    "things": "Load its data into a table, and read it with ctx.db.",
}


def _value_bytes(function: TravellingFunction) -> int:
    return sum(len(each.text.encode()) for each in function.things if isinstance(each, ValueThing))


def encode_function(function: TravellingFunction) -> bytes:
    """The bytes of a parcel, which are MessagePack."""
    return msgspec.msgpack.encode(function)


def decode_function(data: bytes) -> TravellingFunction:
    """What `encode_function` was given.

    Raises:
        TravelError: not the bytes of a parcel, or one beyond the bounds.
    """
    try:
        function = msgspec.msgpack.decode(data, type=TravellingFunction)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TravelError(f"Not a travelling function: {error}", code="BadParcel") from error
    check_bounds(function)
    return function
