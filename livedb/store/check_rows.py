"""Do existing documents fit a schema, a unique index, a staged load? Asked before the commit.

Texts are decoded in blocks and judged by the same compiled checks as an insert, so what is accepted
here is what an insert would accept, and the row store need not be loaded. Unique keys are compared
as index keys: 1 and 1.0 are one key, null and absent are compared with nothing (as in SQL).

Everything reads one `SqlSnapshot`; nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from livedb.errors import LoadError, UniqueError, ValidationError
from livedb.keys.encoding import encode_key
from livedb.schema.catalog import CatalogTable
from livedb.schema.tables import IndexDefinition, TableDefinition
from livedb.schema.validators import REFUSED, TableNumbers
from livedb.store.key_columns import declared_keys
from livedb.store.loads import StagedLoad
from livedb.store.marks import quoted, sql_text
from livedb.store.packed import packed_texts
from livedb.store.snapshot import SqlSnapshot
from livedb.text import decode_fields
from livedb.values import UNSET, Value

IDS_MAX = 20
"""Ids a refusal names."""

_BLOCK_ROWS = 20_000
_NO_KEY = frozenset({encode_key(None), encode_key(UNSET)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfits:
    """Documents that do not fit.

    Attributes:
        count: how many.
        ids: the first of them, at most `IDS_MAX`.
        message: why the first does not; empty when all fit.
    """

    count: int = 0
    ids: tuple[str, ...] = ()
    message: str = ""


def misfits(
    snapshot: SqlSnapshot,
    table: CatalogTable,
    definition: TableDefinition,
    *,
    catalog: TableNumbers | None = None,
) -> Misfits:
    """The documents of `table` that the schema `definition` refuses.

    Args:
        catalog: with it an id must belong to the table its validator names.
    Cost: about 2 us per document of 6 fields; nothing when the schema takes any document.
    """
    document = definition.document
    if document is None:
        return Misfits()
    check = document.compiled
    count = 0
    ids: list[str] = []
    first: dict[str, Value] | None = None
    for block in _iter_blocks(_texts_of(snapshot, table.definition.name)):
        texts: list[bytes] = block.column("_doc").to_pylist()  # type: ignore[assignment]
        for position, text in enumerate(texts):
            fields = decode_fields(text)
            if check(fields, catalog) is REFUSED:
                count += 1
                if len(ids) < IDS_MAX:
                    ids.append(block.column("_id")[position].as_py())
                    first = fields if first is None else first
    if first is None:
        return Misfits()
    try:
        document.check(first, tables=catalog)
    except ValidationError as error:
        message = f'document "{ids[0]}" does not match the schema: {error.message}'
        return Misfits(count=count, ids=tuple(ids), message=message)
    raise AssertionError("a check that refused must refuse again")


def unique_clashes(snapshot: SqlSnapshot, table: CatalogTable, index: IndexDefinition) -> Misfits:
    """The documents of `table` that share a key of `index`, each but the first of its key.

    Cost: about 1 us per document and field.
    """
    rows = _texts_of(snapshot, table.definition.name)
    clashes = _repeated(rows, _keys_of(rows, index), {})
    if not clashes:
        return Misfits()
    ids = tuple(later for _, later in clashes[:IDS_MAX])
    first, second = clashes[0]
    fields = ", ".join(index.fields)
    message = f'documents "{first}" and "{second}" have the same {fields}'
    return Misfits(count=len(clashes), ids=ids, message=message)


def load_clashes(
    snapshot: SqlSnapshot, table: CatalogTable, path: Path, staged: StagedLoad
) -> None:
    """Refuse a staged load whose ids or unique keys exist already, in the table or in itself.

    Raises:
        LoadError: an `_id` that it keeps is taken.
        UniqueError: a key of a unique index is.
    Cost: nothing for new ids and no unique index; else as `unique_clashes`, for both.
    """
    name = table.definition.name
    if staged.has_own_ids:
        _refuse_taken_ids(snapshot, name, path)
    unique = [index for index in table.definition.indexes if index.is_unique]
    if not unique:
        return
    existing = _texts_of(snapshot, name)
    arriving = pyarrow.parquet.read_table(path, columns=["_id", "_doc"])
    for index in unique:
        known: dict[bytes, str] = {}
        _repeated(existing, _keys_of(existing, index), known)
        clashes = _repeated(arriving, _keys_of(arriving, index), known)
        if clashes:
            raise _unique_error(index, name, arriving, clashes)


def _refuse_taken_ids(snapshot: SqlSnapshot, name: str, path: Path) -> None:
    taken = snapshot.query(
        f"SELECT _id FROM data.{quoted(name)} "  # noqa: S608 - quoted
        f"WHERE _id IN (SELECT _id FROM read_parquet({sql_text(str(path))})) LIMIT 1"
    )
    if taken.num_rows:
        raise LoadError(
            f"The source has a document that table {name!r} has already: "
            f"{taken.column(0)[0].as_py()!r}. Nothing was loaded.",
            code="DuplicateId",
        )


def _unique_error(
    index: IndexDefinition, name: str, arriving: pa.Table, clashes: Sequence[tuple[str, str]]
) -> UniqueError:
    first, later = clashes[0]
    row = arriving.column("_id").index(later).as_py()
    is_twice = arriving.column("_id").index(first).as_py() >= 0
    fields = ", ".join(index.fields)
    where = "another row of the source" if is_twice else f'document "{first}"'
    return UniqueError(
        f"Row {row} of the source has the same {fields} as {where}, and index {index.name!r} of "
        f"table {name!r} is unique ({len(clashes):,} such rows). Nothing was loaded.",
        index=index.name,
        existing_id=None if is_twice else first,
    )


def _texts_of(snapshot: SqlSnapshot, name: str) -> pa.Table:
    known = "SELECT count(*) FROM meta.tables WHERE name = ?"
    if not snapshot.query(known, [name]).column(0)[0].as_py():
        return pa.table({"_id": pa.array([], pa.string()), "_doc": pa.array([], pa.binary())})
    return snapshot.query(f"SELECT _id, _doc FROM data.{quoted(name)}")  # noqa: S608 - quoted


def _iter_blocks(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, rows.num_rows, _BLOCK_ROWS):
        yield rows.slice(start, _BLOCK_ROWS)


def _keys_of(rows: pa.Table, index: IndexDefinition) -> list[bytes | None]:
    """The key of each document; None where it lacks a field of the index, or has null there."""
    if not rows.num_rows:
        return []
    chunks = rows.column("_doc").cast(pa.large_binary()).chunks
    data, offsets = packed_texts(pa.concat_arrays(chunks))
    texts = data.tobytes()
    parts = [declared_keys(texts, offsets, [name]).to_pylist() for name in index.fields]
    return [
        None if any(part in _NO_KEY for part in key) else b"".join(key)
        for key in zip(*parts, strict=True)
    ]


def _repeated(
    rows: pa.Table, keys: Sequence[bytes | None], known: dict[bytes, str]
) -> list[tuple[str, str]]:
    """Pairs (id that has the key, later id); `known` takes the keys."""
    clashes: list[tuple[str, str]] = []
    ids: list[str] = rows.column("_id").to_pylist()  # type: ignore[assignment]
    for document_id, key in zip(ids, keys, strict=True):
        if key is not None:
            first = known.setdefault(key, document_id)
            if first is not document_id:
                clashes.append((first, document_id))
    return clashes
