"""The rows of a handle's states as Arrow, and the schema types of their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from livedb.client.backend import Backend, Subscription
from livedb.errors import InvalidIdError
from livedb.ids import table_number_of
from livedb.interchange.arrow import (
    FieldType,
    documents_to_arrow,
    mark_int64,
    result_to_arrow,
    typed_containers,
)
from livedb.interchange.frames import fields_of
from livedb.live.live_query import LiveState
from livedb.live.result import DocumentsResult, Result, TableResult
from livedb.notebook.raised import raised_to_one
from livedb.schema.catalog import Catalog
from livedb.schema.validators import REFUSED, Validator

if TYPE_CHECKING:
    import pyarrow as pa


class HandleFrames:
    """Makes the frames of one handle.

    Args:
        table: the table whose rows the states are, when they are all of it.
    """

    def __init__(self, backend: Backend, subscription: Subscription, table: str | None) -> None:
        self._backend = backend
        self._subscription = subscription
        self._table = table
        self._made: tuple[LiveState | None, pa.Table] | None = None
        self._known_fields: tuple[LiveState | None, Mapping[str, FieldType] | None] | None = None
        self._returned: tuple[Validator, Mapping[str, FieldType] | None] | None = None
        """A return type, and the fields it gives: worked out once, not for each commit."""

    def arrow_of(self, state: LiveState | None) -> pa.Table:
        """The rows of a state; made once for each, because every view asks for its own window.

        Raises: the error of a state that has no result, not even an older one.
        """
        made = self._made
        if made is None or made[0] is not state:
            made = self._made = (state, self._make_arrow(state))
        return made[1]

    def typed_arrow_of(self, state: LiveState | None) -> pa.Table:
        """As `arrow_of`, but lists and objects of a table are no JSON text."""
        table = self.arrow_of(state)
        if self._table is None:
            return table
        return typed_containers(table, self.fields_of(state) or {})

    def fields_of(self, state: LiveState | None) -> Mapping[str, FieldType] | None:
        """The schema types of the columns of a state's rows; None when there is no schema."""
        definition = self._subscription.definition()
        if definition is None:
            entry = None if self._table is None else self._backend.known_catalog().get(self._table)
            return None if entry is None else fields_of(entry.definition)
        returns = definition.signature.returns
        if returns is not None:
            known = self._returned
            if known is None or known[0] is not returns:
                known = self._returned = (returns, fields_of(returns))
            return known[1]
        return self._fields_of_table(state, definition.table)

    def document_fields_of(self, state: LiveState | None) -> Mapping[str, FieldType] | None:
        """The fields of the documents of a whole table; None when these are no such rows."""
        return None if self._table is None else self.fields_of(state)

    def _make_arrow(self, state: LiveState | None) -> pa.Table:
        require_result(state)
        if state is None or state.result is None:
            return documents_to_arrow([], self.fields_of(state))
        if isinstance(state.result, TableResult):
            return mark_int64(state.result.table, self.document_fields_of(state) or {})
        definition = self._subscription.definition()
        returns = None if definition is None else definition.signature.returns
        return result_to_arrow(state.result.value(), self.fields_of(state), returns)

    def _fields_of_table(
        self, state: LiveState | None, table: str | None
    ) -> Mapping[str, FieldType] | None:
        """The fields of the table whose documents these are: no annotation says it.

        Only of whole documents, as their table's schema has them; others may be anything. Where
        there are none, `table` is the one they would be of, if that is known. None when neither is.
        """
        known = self._known_fields
        if known is None or known[0] is not state:
            result = None if state is None else state.result
            fields = _fields_of_documents(self._backend.known_catalog(), result, table)
            known = self._known_fields = (state, fields)
        return known[1]


def require_result(state: LiveState | None) -> None:
    """Raise the error of a state that has no result, not even an older one."""
    if state is not None and state.result is None and state.error is not None:
        raise raised_to_one(state.error)


def _fields_of_documents(
    catalog: Catalog, result: Result | None, of_none: str | None
) -> Mapping[str, FieldType] | None:
    if not isinstance(result, DocumentsResult):
        return None
    if not result.ids:
        entry = None if of_none is None else catalog.get(of_none)
        return None if entry is None else fields_of(entry.definition)
    try:
        numbers = set(map(table_number_of, result.ids))
    except InvalidIdError:
        return None
    table = catalog.by_number(min(numbers))
    if len(numbers) > 1 or table is None or table.definition.document is None:
        return None
    fits = table.definition.whole_document().compiled
    if any(fits(dict(row), None) is REFUSED for row in result.value()):
        return None
    return fields_of(table.definition)
