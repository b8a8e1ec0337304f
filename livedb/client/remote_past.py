"""An earlier commit of a workspace on a service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from livedb.canonical import canonical
from livedb.client.past_backend import PastBackend
from livedb.client.remote_tables import RemoteTables
from livedb.client.transfers import Transfers
from livedb.client.verbs import PastVerbs, Verbs
from livedb.functions.definition import FunctionDefinition, as_received
from livedb.functions.table_functions import travelling_arguments, verb_of
from livedb.protocol.codecs import PACK
from livedb.schema.catalog import Catalog

if TYPE_CHECKING:
    from os import PathLike

    from livedb.client.backend import Backend
    from livedb.clock import Clock
    from livedb.interchange.exports import ExportResult, Format


class RemotePast(RemoteTables, PastBackend):
    """An earlier commit of a workspace on a service.

    Args:
        verbs: ask the service.
    """

    def __init__(self, now: Backend, when: int | datetime, verbs: Verbs, clock: Clock) -> None:
        answer: Any = PACK.read(verbs.act("past", {"when": when}))
        number, time = answer
        super().__init__(now, number, time)
        self._verbs = PastVerbs(verbs, number)
        self._transfers = Transfers(self._verbs, clock)
        self._catalog: Catalog | None = None

    def catalog(self) -> Catalog:
        self.refuse_in_function()
        if self._catalog is None:  # it never changes
            [told] = PACK.read_payload(self._verbs.act("catalog", {})).attachments
            self._catalog = Catalog.from_json(msgspec.json.decode(told))
        return self._catalog

    def run(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Any:
        self.require_query(function)
        verb = verb_of(function)
        sent: dict[str, Any]
        if verb is not None:
            given = travelling_arguments(args)
            sent = {"verb": verb, "name": function.name, "args": given}
            return as_received(PACK.read(self._verbs.act("table", sent)), function)
        sent = {"name": function.name, "args": canonical(dict(args))}
        return as_received(PACK.read(self._verbs.act("call", sent)), function)

    def _refuse_in_function(self, what: str) -> None:
        del what  # whatever is read
        self.refuse_in_function()

    def export(
        self,
        table: str,
        path: str | PathLike[str],
        *,
        format: Format | None,  # noqa: A002  # the word users know
        overwrite: bool,
    ) -> tuple[ExportResult, tuple[str, ...]]:
        self.refuse_in_function()
        return self._transfers.export(table, path, format=format, overwrite=overwrite)
