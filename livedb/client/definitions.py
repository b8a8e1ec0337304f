"""The functions and tables of a service, as a kernel knows them, and what it has defined there.

What is known has a version, which every round trip tells: a function that another kernel redefines
is called as it is now.

Functions of cells belong to their notebook, so a service that was started anew has none of them.
What was sent is therefore kept, and sent again (`restoring`) before anything else is asked on a new
connection, each function under the version it had. Of two kernels that bring one name the later
definition holds, whichever comes first; so does what the service itself has defined since, such as
its folder of functions. Tables are in the log and need none of this.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from livedb.client.backend import Origin
from livedb.client.connection import Restore
from livedb.client.verbs import Verbs
from livedb.errors import (
    ClosedError,
    DisconnectedError,
    FunctionNotFoundError,
    FunctionTypeError,
    LivedbError,
    WorkspaceError,
)
from livedb.functions.definition import MARK, FunctionDefinition, FunctionMark, Registry
from livedb.functions.signatures import function_with_help
from livedb.protocol.codecs import PACK
from livedb.schema.annotations import FunctionSignature
from livedb.schema.catalog import Catalog
from livedb.travel.capture import capture
from livedb.travel.parcel import TravellingFunction, encode_function
from livedb.version import VERSION

logger = logging.getLogger("livedb.client")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """A function of this process as the service was given it.

    Attributes:
        version: what it became there.
        parcel: what travelled.
        fingerprint: of that.
        is_pushed: it is of a module, and no cell changes what it uses.
        trouble: why it could not be sent again, if that was told.
    """

    definition: FunctionDefinition
    origin: Origin | None
    version: int
    parcel: bytes
    fingerprint: str
    is_pushed: bool
    trouble: str | None = None


class Definitions:
    """The functions and tables of one service."""

    def __init__(self, verbs: Verbs, heard: Callable[[Mapping[str, Any]], None]) -> None:
        """Know nothing yet.

        Args:
            heard: is told how far the service is, whenever it says so.
        """
        self._verbs = verbs
        self._tell = heard
        self._registry = Registry()
        self._service_versions: dict[str, int] = {}
        """Of each function in `_registry`, the version it has on the service."""
        self._sent: dict[str, _Sent] = {}
        self._catalog = Catalog()
        self._described = ""
        """The version of what is known of functions and tables."""
        self._newest = ""
        """The version that the service was last heard to have."""

    # -- what there is -------------------------------------------------------------------------

    def heard(self, stands: Mapping[str, Any]) -> None:
        """The service has said how far it is."""
        self._newest = stands["version"]
        self._tell(stands)

    def describe(self) -> None:
        """Learn of the functions and tables there are, if they are others than those known."""
        answer = PACK.read_payload(self._verbs.act("describe", {"known": self._described}))
        stands = msgspec.json.decode(answer.text)
        _require_same_livedb(stands.get("livedb", "an older one"))
        self.heard(stands)
        if not answer.attachments:
            return
        described: dict[str, Any] = msgspec.json.decode(answer.attachments[0])
        there = {each["name"]: each for each in described["functions"]}
        gone = self._service_versions.keys() - there.keys()
        changed = [
            _described(each)
            for name, each in there.items()
            if self._service_versions.get(name) != each["version"]
        ]
        self._registry.replace(changed, gone=gone)
        self._service_versions = {name: each["version"] for name, each in there.items()}
        self._catalog = Catalog.from_json(described["catalog"])
        self._described = stands["version"]

    def catalog(self) -> Catalog:
        """The tables there are, or were at the commit that is held."""
        if self._verbs.held() is None:
            self.describe()
            return self._catalog
        answer = PACK.read_payload(self._verbs.act("catalog", {}))
        return Catalog.from_json(msgspec.json.decode(answer.attachments[0]))

    def known_catalog(self) -> Catalog:
        """The same; as it was last heard of when the service cannot be asked now."""
        if not self._verbs.is_away:
            with suppress(DisconnectedError, ClosedError):
                return self.catalog()
        return self._catalog

    def names(self) -> list[str]:
        """The functions there are."""
        self.describe()
        return self._registry.names()

    def get(self, name: str) -> FunctionDefinition:
        """The function of that name, as the service has it.

        Raises:
            FunctionNotFoundError: there is none.
            DisconnectedError: it is not known, and the service cannot be asked.
        """
        known = self._registry.find(name)
        if known is None or self._newest != self._described:
            try:
                self.describe()
            except (DisconnectedError, ClosedError):
                if known is None:
                    raise
        return self._registry.get(name)

    def known(self, name: str) -> FunctionDefinition:
        """The function of that name as it was last heard of, without asking.

        Raises:
            FunctionNotFoundError: there is none.
        """
        return self._registry.get(name)

    def newest(self, definition: FunctionDefinition) -> FunctionDefinition:
        """The function of that name as it is by now, if the service can be asked."""
        with suppress(FunctionNotFoundError, DisconnectedError, ClosedError):
            return self.get(definition.name)
        return definition

    def renewed(self, function: FunctionDefinition) -> FunctionDefinition | None:
        """The function of that name, if it is another one than was thought."""
        self.describe()
        found = self._registry.find(function.name)
        return None if found is function else found

    # -- what this kernel defines --------------------------------------------------------------

    def define(self, definition: FunctionDefinition, origin: Origin | None) -> FunctionDefinition:
        """Define a function of a cell; returns it as it is there."""
        self._send([definition], origin, is_pushed=False)
        return self._registry.get(definition.name)

    def push(self, functions: Sequence[FunctionDefinition]) -> None:
        """Define the functions of a module."""
        self._send(functions, None, is_pushed=True)

    def _send(
        self, functions: Sequence[FunctionDefinition], origin: Origin | None, *, is_pushed: bool
    ) -> None:
        captured = [_captured(each, origin) for each in functions]
        parcels = [encode_function(each) for each in captured]
        answer = self._verbs.act("define", {"pushed": is_pushed}, parcels)
        versions: dict[str, int] = dict(PACK.read(answer))
        for function, travelled, parcel in zip(functions, captured, parcels, strict=True):
            self._registry.define(function)
            version = self._service_versions[function.name] = versions[function.name]
            self._sent[function.name] = _Sent(
                definition=function,
                origin=_without_globals(origin, function),
                version=version,
                parcel=parcel,
                fingerprint=travelled.fingerprint,
                is_pushed=is_pushed,
            )

    def follow_code(self) -> None:
        """After a cell has run: send what it changed of functions that were sent before."""
        # What travels says more than the names a function uses itself: helpers of helpers too.
        if self._verbs.is_away:
            return  # after a later cell
        for name, sent in list(self._sent.items()):
            if sent.is_pushed:
                continue
            try:
                captured = _captured(sent.definition, sent.origin)
                if captured.fingerprint != sent.fingerprint:
                    self.define(sent.definition, sent.origin)
                elif sent.trouble is not None:
                    self._sent[name] = replace(sent, trouble=None)
            except LivedbError as error:
                if str(error) != sent.trouble:
                    self._sent[name] = replace(sent, trouble=str(error))
                    warnings.warn(
                        f"{name} stays on the service as it was sent before: {error}",
                        UserWarning,
                        stacklevel=3,
                    )

    # -- on the connection's thread ------------------------------------------------------------

    def restoring(self) -> Restore | None:
        """What to do first on a new connection; None when there is nothing."""
        return self._restore if self._sent else None

    async def _restore(self) -> None:
        """Send again what the service lacks, which it does when it was started anew."""
        sent = dict(self._sent)  # one step in C: other threads define meanwhile
        known = [[name, each.version] for name, each in sent.items()]
        lacking: Any = PACK.read(await self._verbs.act_ahead("lacking", {"functions": known}))
        for name in lacking:
            each = sent[name]
            how = {"pushed": each.is_pushed, "version": each.version}
            try:
                await self._verbs.act_ahead("define", how, [each.parcel])
            except DisconnectedError:
                raise
            except LivedbError as error:  # it needs a package that is not there any more, say
                logger.warning("%s cannot be defined on the service again: %s", name, error)


def _require_same_livedb(there: str) -> None:
    """Refuse a service whose messages this client may not understand.

    Raises:
        WorkspaceError: it runs another version.
    """
    if there != VERSION:
        raise WorkspaceError(
            f"The service runs livedb {there}, and this is {VERSION}: use the same version "
            "here and there",
            code="VersionMismatch",
        )


def _captured(definition: FunctionDefinition, origin: Origin | None) -> TravellingFunction:
    mark: FunctionMark | None = getattr(definition.handler, MARK, None)
    given = origin or mark
    return capture(
        definition.handler,
        kind=definition.kind,
        name=definition.name,
        visibility=definition.visibility,
        args=None if given is None else given.args,
        returns=None if given is None else given.returns,
        alias=None if given is None else given.alias,
        cors=definition.cors,
        namespace=None if origin is None else origin.namespace,
        **({} if origin is None else {"reference": origin.reference}),
    )


def _without_globals(origin: Origin | None, definition: FunctionDefinition) -> Origin | None:
    """`origin` to keep: what the function finds by itself would be held by it for ever."""
    if origin is None:
        return None
    found = getattr(definition.handler, "__globals__", {})
    names = {
        name: value for name, value in origin.namespace.items() if found.get(name) is not value
    }
    return replace(origin, namespace=names)


def _not_here(*_: Any, **__: Any) -> Any:
    raise FunctionTypeError("This function runs on the service; its source is not here")


def _described(each: Mapping[str, Any]) -> FunctionDefinition:
    """A function of the service, for calling it: its source stays there."""
    return FunctionDefinition(
        name=each["name"],
        kind=each["kind"],
        visibility=each["visibility"],
        handler=function_with_help(_not_here, each["help"]),
        signature=FunctionSignature.from_json(each["signature"]),
    )
