"""`db.infer_schema("t")`: a schema proposed from the documents there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livedb.errors import SchemaDefinitionError
from livedb.schema.infer import as_source, document_validator, infer_shape
from livedb.schema.tables import TableDefinition

if TYPE_CHECKING:
    from livedb.client.backend import Backend


class InferredSchema:
    """A proposal; its text is a cell to read, correct and run.

    Attributes:
        source: that text.
        definition: the same as a table definition.
    """

    def __init__(self, source: str, definition: TableDefinition) -> None:
        self.source = source
        self.definition = definition

    def __repr__(self) -> str:
        return self.source


def infer_table(backend: Backend, name: str, *, sample: int | None = None) -> InferredSchema:
    """Propose a schema for the table `name`.

    Raises:
        SchemaDefinitionError: there is no such table, or it has no documents to look at.
    Cost: about 5 us per document looked at.
    """
    catalog = backend.catalog()
    known = catalog.get(name)
    if known is None:
        raise SchemaDefinitionError(
            f"There is no table {name!r}; there are {', '.join(catalog.names()) or 'none'}"
        )
    documents = backend.documents(name, limit=sample)
    if not documents:
        raise SchemaDefinitionError(f"Table {name!r} has no documents to infer a schema from")
    shape = infer_shape(documents, tables=catalog)
    definition = TableDefinition(name, document_validator(shape), known.definition.indexes)
    return InferredSchema(as_source(shape, table=name, indexes=definition.indexes), definition)
