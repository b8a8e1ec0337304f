"""Do existing documents fit a schema, a unique index, a staged load? Asked before the commit.

DuckDB judges set-wise where it can, and what it cannot is decoded and judged by the same compiled
checks as an insert; so what is accepted here is what an insert would accept, and the row store need
not be loaded. Unique keys are compared
as index keys: 1 and 1.0 are one key, null and absent are compared with nothing (as in SQL).

Everything reads one `SqlSnapshot`; nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from livedb.errors import LoadError, UniqueError
from livedb.keys.encoding import encode_key
from livedb.limits import DOCUMENT_BYTES_MAX
from livedb.schema.catalog import CatalogTable
from livedb.schema.filling import Filling
from livedb.schema.tables import IndexDefinition, TableDefinition
from livedb.schema.validators import REFUSED, TableNumbers
from livedb.sizes import measure, system_fields_size
from livedb.store.columns import Columns, columns_from_json
from livedb.store.connection import quote, quote_text
from livedb.store.id_columns import decode_ids
from livedb.store.key_columns import declared_keys
from livedb.store.load_text import SMALL_TEXT_BYTES
from livedb.store.loads import StagedLoad
from livedb.store.packed import packed_texts
from livedb.store.snapshot import SqlSnapshot
from livedb.store.verdict import Verdict, is_absent
from livedb.text import decode_fields, encode_fields
from livedb.values import UNSET, Value
from livedb.wording import counted

IDS_MAX = 10
"""Ids a refusal names."""

_UNKNOWN_IDS_MAX = 100
"""Texts in a column of ids that are named in SQL; if there are more, Python decides each."""

_BLOCK_ROWS = 20_000
_NO_KEY = frozenset({encode_key(None), encode_key(UNSET)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfits:
    """Documents that do not fit.

    Attributes:
        count: how many.
        ids: the first of them, at most `IDS_MAX`.
        reasons: why each of `ids` does not.
        decoded: how many documents had to be read in Python to know.
    """

    count: int = 0
    ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    decoded: int = 0

    def listed(self) -> str:
        """The ids with their reasons, a line each, and how many more there are."""
        lines = [f'  "{each}": {why}' for each, why in zip(self.ids, self.reasons, strict=True)]
        more = self.count - len(self.ids)
        return "\n".join([*lines, *([f"  and {more:,} more"] if more else [])])


def misfits(
    snapshot: SqlSnapshot,
    table: CatalogTable,
    definition: TableDefinition,
    *,
    catalog: TableNumbers | None = None,
) -> Misfits:
    """The documents of `table` that the schema `definition` refuses.

    DuckDB judges by `store.verdict`; only what it cannot decide, such as a value inside an array,
    is decoded. A document that lacks a field which `required_defaults` fills is judged as filled.

    Args:
        catalog: with it an id must belong to the table its validator names.
    Cost: nothing where the old schema proves it; else set-wise, about 0.1 us per document and
        field, 1 us where the JSON must be asked, and 3 us for one that is decoded.
    """
    document = definition.document
    columns = _columns_of(snapshot, table.number)
    if document is None or columns is None:
        return Misfits()
    filling = Filling(definition)
    name = quote(table.definition.name)

    def unknown_ids(column: str, tables: Sequence[str]) -> list[str] | None:
        found = snapshot.query(f"SELECT DISTINCT {column} AS id FROM data.{name}")  # noqa: S608 - quoted
        return _unknown_ids(found.column(0).combine_chunks(), tables, catalog)

    verdict = Verdict(columns, filling.top_level, unknown_ids)
    asked = verdict.sql(document, table.definition.document)
    undecided = snapshot.query(
        f"SELECT _id, verdict, CASE WHEN verdict IS NULL THEN _doc END AS _doc "  # noqa: S608
        f"FROM (SELECT _id, _doc, ({asked}) AS verdict FROM data.{name}) WHERE verdict IS NOT TRUE"
    )
    is_decided: Any = np.asarray(pc.is_valid(undecided.column("verdict")))
    refused: list[int] = np.flatnonzero(is_decided).tolist()
    open_positions = np.flatnonzero(~is_decided)
    for start in range(0, len(open_positions), _BLOCK_ROWS):
        block = open_positions[start : start + _BLOCK_ROWS]
        texts: list[Any] = undecided.column("_doc").take(block).to_pylist()
        for position, text in zip(block.tolist(), texts, strict=True):
            if document.compiled(filling.fill(decode_fields(text)), catalog) is REFUSED:
                refused.append(position)
    first = pa.array(sorted(refused)[:IDS_MAX], pa.int64())
    ids: list[Any] = undecided.column("_id").take(first).to_pylist()
    return Misfits(
        count=len(refused),
        ids=tuple(ids),
        reasons=_reasons(snapshot, name, ids, filling, catalog),
        decoded=len(open_positions),
    )


def needed_defaults(
    snapshot: SqlSnapshot, table: CatalogTable, filling: Filling
) -> dict[str, Value]:
    """The defaults, by path, that some document of `table` lacks.

    Those inside of objects are needed as soon as there is a document: the fill looks for itself.

    Cost: nothing for a field that the old schema requires; else the search for one document.
    """
    columns = _columns_of(snapshot, table.number)
    if columns is None:
        return {}
    known = table.definition.fields
    name = quote(table.definition.name)

    def is_needed(path: str) -> bool:
        if path not in filling.top_level:
            condition = "true"
        elif path in known and not known[path].is_optional:
            return False
        else:
            condition = is_absent(columns, path)
        found = snapshot.query(f"SELECT 1 FROM data.{name} WHERE {condition} LIMIT 1")  # noqa: S608
        return bool(found.num_rows)

    return {path: value for path, value in filling.defaults.items() if is_needed(path)}


def outgrown(
    snapshot: SqlSnapshot, table: CatalogTable, filling: Filling, needed: Mapping[str, Value]
) -> Misfits:
    """The documents of `table` that are too large once they have the defaults `needed`.

    More fields than an object may have they cannot get: no schema declares that many.

    Cost: one pass over the sizes of the documents; 3 us for one of some ten kilobytes.
    """
    top = sum(len(_member(path, value)) for path, value in needed.items() if "." not in path)
    # Each of the objects in a document, which take two bytes at least, may get the inner ones.
    inner = sum(len(_member(path, value)) for path, value in needed.items() if "." in path)
    size = f"octet_length(_doc) * {1 + inner} + {top}"
    rows = snapshot.query(
        f"SELECT _id, _doc FROM data.{quote(table.definition.name)} "  # noqa: S608 - quoted
        f"WHERE {size} > {SMALL_TEXT_BYTES}"
    )
    large: dict[str, int] = {}
    for start in range(0, rows.num_rows, _BLOCK_ROWS):
        block = rows.slice(start, _BLOCK_ROWS)
        for document_id, text in zip(*(each.to_pylist() for each in block.columns), strict=True):
            fields = decode_fields(text)
            filled = filling.fill(fields)
            size_bytes = measure(filled)[0] + system_fields_size(document_id)
            if filled != fields and size_bytes > DOCUMENT_BYTES_MAX:
                large[document_id] = size_bytes
    ids = tuple(sorted(large)[:IDS_MAX])
    names = ", ".join(needed)
    reasons = tuple(
        f"with {names} it has {large[each]:,} bytes, and the limit is {DOCUMENT_BYTES_MAX:,}"
        for each in ids
    )
    return Misfits(count=len(large), ids=ids, reasons=reasons, decoded=rows.num_rows)


def _member(path: str, value: Value) -> bytes:
    return encode_fields({path: value})


def _columns_of(snapshot: SqlSnapshot, number: int) -> Columns | None:
    """The columns of a table; None when it was never folded."""
    found = snapshot.query("SELECT columns FROM meta.tables WHERE number = ?", [number])
    return columns_from_json(found.column(0)[0].as_py()) if found.num_rows else None


def _unknown_ids(
    texts: pa.Array[Any], tables: Sequence[str], catalog: TableNumbers | None
) -> list[str] | None:
    """Those of `texts` that are no id of one of `tables`; None when there are too many."""
    if not len(texts):
        return []
    numbers = decode_ids(texts).table_numbers
    if catalog is None:
        is_known = numbers != 0
    else:
        wanted = [number for name in tables if (number := catalog.number_of(name)) is not None]
        is_known = np.isin(numbers, np.array(wanted, np.uint64))
    unknown = texts.filter(pa.array(~is_known)).drop_null()
    if len(unknown) > _UNKNOWN_IDS_MAX:
        return None
    named: list[str] = unknown.to_pylist()  # type: ignore[assignment]
    return None if any("\x00" in each for each in named) else named


def _reasons(
    snapshot: SqlSnapshot,
    name: str,
    ids: Sequence[str],
    filling: Filling,
    catalog: TableNumbers | None,
) -> tuple[str, ...]:
    """Why each of the documents `ids` is refused."""
    if not ids:
        return ()
    marks = ", ".join("?" * len(ids))
    found = snapshot.query(f"SELECT _id, _doc FROM data.{name} WHERE _id IN ({marks})", list(ids))  # noqa: S608
    texts = dict(zip(*(column.to_pylist() for column in found.columns), strict=True))
    return tuple(filling.refusal(decode_fields(texts[each]), catalog) for each in ids)


def unique_clashes(
    snapshot: SqlSnapshot,
    table: CatalogTable,
    index: IndexDefinition,
    *,
    filling: Filling | None = None,
) -> Misfits:
    """The documents of `table` that share a key of `index`, each but the first of its key.

    Args:
        filling: what the documents get before the index is made.
    Cost: about 1 us per document and field, 3 us more where `filling` touches the index.
    """
    rows = _texts_of(snapshot, table.definition.name)
    if filling is not None and filling.touches(index.fields):
        texts = [encode_fields(filling.fill(decode_fields(each.as_py()))) for each in rows["_doc"]]
        rows = rows.set_column(1, "_doc", pa.array(texts, pa.large_binary()))
    clashes = _repeated(rows, _keys_of(rows, index), {})
    if not clashes:
        return Misfits()
    shown = clashes[:IDS_MAX]
    ids = tuple(later for _, later in shown)
    reasons = tuple(f'has the same {", ".join(index.fields)} as "{first}"' for first, _ in shown)
    return Misfits(count=len(clashes), ids=ids, reasons=reasons)


def load_clashes(
    snapshot: SqlSnapshot,
    table: CatalogTable,
    path: Path,
    staged: StagedLoad,
    *,
    is_cleared: bool = False,
) -> None:
    """Refuse a staged load whose ids or unique keys exist already, in the table or in itself.

    Args:
        is_cleared: the load's commit deletes what the table has now.

    Raises:
        LoadError: an `_id` that it keeps is taken.
        UniqueError: a key of a unique index is.
    Cost: nothing for new ids and no unique index; else as `unique_clashes`, for both.
    """
    name = table.definition.name
    if staged.has_own_ids and not is_cleared:
        _refuse_taken_ids(snapshot, name, path)
    unique = [index for index in table.definition.indexes if index.is_unique]
    if not unique:
        return
    existing = _NO_TEXTS if is_cleared else _texts_of(snapshot, name)
    arriving = pyarrow.parquet.read_table(path, columns=["_id", "_doc"])
    for index in unique:
        known: dict[bytes, str] = {}
        _repeated(existing, _keys_of(existing, index), known)
        clashes = _repeated(arriving, _keys_of(arriving, index), known)
        if clashes:
            raise _unique_error(index, name, arriving, clashes)


_NO_TEXTS = pa.table({"_id": pa.nulls(0, pa.string()), "_doc": pa.nulls(0, pa.binary())})


def _refuse_taken_ids(snapshot: SqlSnapshot, name: str, path: Path) -> None:
    if not _is_known(snapshot, name):
        return
    taken = snapshot.query(
        f"SELECT _id FROM data.{quote(name)} "  # noqa: S608 - quoted
        f"WHERE _id IN (SELECT _id FROM read_parquet({quote_text(str(path))})) LIMIT 1"
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
        f"table {name!r} is unique ({counted(len(clashes), 'such row')}). Nothing was loaded.",
        index=index.name,
        existing_id=None if is_twice else first,
    )


def _texts_of(snapshot: SqlSnapshot, name: str) -> pa.Table:
    if not _is_known(snapshot, name):
        return _NO_TEXTS
    return snapshot.query(f"SELECT _id, _doc FROM data.{quote(name)}")  # noqa: S608 - quoted


def _is_known(snapshot: SqlSnapshot, name: str) -> bool:
    """Whether DuckDB has the table already."""
    known = "SELECT count(*) FROM meta.tables WHERE name = ?"
    return bool(snapshot.query(known, [name]).column(0)[0].as_py())


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
