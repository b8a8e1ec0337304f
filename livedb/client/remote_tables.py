"""Reads of the tables of a workspace on a service, as they are now or were at an earlier commit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from livedb.client.remote_subscription import table_of
from livedb.client.verbs import Verbs
from livedb.protocol.codecs import PACK

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.client.backend import Params


class RemoteTables(ABC):
    """The part of a `Backend` that reads tables; its verbs say of which commit."""

    _verbs: Verbs

    @abstractmethod
    def _refuse_in_function(self, what: str) -> None:
        """Raise inside a query or mutation."""

    def sql(self, text: str, params: Params) -> tuple[pa.Table, int]:
        self._refuse_in_function("db.sql")
        answer = PACK.read_payload(self._verbs.act("sql", sql_arguments(text, params)))
        number: int = msgspec.json.decode(answer.text)
        return table_of(answer.attachments[0]), number

    def documents(self, table: str, *, limit: int | None) -> list[dict[str, Any]]:
        self._refuse_in_function(f"The documents of {table!r}")
        found: Any = PACK.read(self._verbs.act("documents", {"table": table, "limit": limit}))
        return list(found)

    def counts(self) -> dict[str, int]:
        return dict(PACK.read(self._verbs.act("counts", {})))

    def page(self, table: str, *, limit: int, is_descending: bool) -> list[dict[str, Any]] | None:
        asked = {"table": table, "limit": limit, "is_descending": is_descending}
        found: list[dict[str, Any]] | None = PACK.read(self._verbs.act("page", asked))
        return found

    def hidden_fields(self, table: str) -> tuple[str, ...]:
        return tuple(PACK.read(self._verbs.act("hidden", {"table": table})))


def sql_arguments(text: str, params: Params) -> dict[str, Any]:
    """A statement as it travels."""
    given = params if params is None or isinstance(params, Mapping) else list(params)
    return {"text": text, "params": given}
