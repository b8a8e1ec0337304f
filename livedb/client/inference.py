"""`db.infer_schema("t")`: a schema proposed from the documents there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livedb.errors import SchemaDefinitionError
from livedb.schema.index_rules import can_have
from livedb.schema.infer import as_source, document_validator, infer_shape
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.schema.tables import AnyIndex, IndexDefinition, TableDefinition, fields_of

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

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.source}```"  # coloured where the host can


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
    validator = document_validator(shape)
    # Of a nested field that all documents lack, as where its parent is None in each, nothing is
    # known that an index could stand on.
    kept: list[AnyIndex] = []
    left: list[AnyIndex] = []
    for index in known.definition.every_index:
        fits = all(can_have(validator, path.split(".")) for path in fields_of(index))
        (kept if fits else left).append(index)
    source = as_source(shape, table=name, indexes=kept)
    notes = "".join(
        f"# The index {index.name} on {', '.join(fields_of(index))} is left out: no document has "
        "such a field.\n"
        for index in left
    )
    definition = TableDefinition(
        name,
        validator,
        tuple(index for index in kept if isinstance(index, IndexDefinition)),
        search_indexes=tuple(index for index in kept if isinstance(index, SearchIndexDefinition)),
        vector_indexes=tuple(index for index in kept if isinstance(index, VectorIndexDefinition)),
    )
    return InferredSchema(notes + source, definition)
