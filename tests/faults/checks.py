"""Whether a workspace is whole: its three copies agree, and nothing acknowledged is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import livedb
from livedb.commitlog.payload import (
    ClearPart,
    DocumentsPart,
    FillPart,
    LoadPart,
    SchemaPart,
    catalog_of,
    decode_payload,
)
from livedb.schema.catalog import Catalog
from livedb.schema.check import compile_filler
from livedb.text import decode_fields, decode_value, encode_fields

Documents = dict[str, tuple[float, bytes]]


def workspace_of(db: livedb.Database):
    return db.backend.workspace


def rows_of(db: livedb.Database) -> dict[str, Documents]:
    """Every document of every table as functions see it."""
    workspace = workspace_of(db)
    number = workspace.committer.published
    found: dict[str, Documents] = {}
    for table in workspace.committer.catalog_at(number):
        blocks = workspace.rows.scan(table.number, "by_creation_time", b"", None, number=number)
        found[table.definition.name] = {
            entry.id: tuple(entry.document) for block in blocks for entry in block
        }
    return found


def tables_of(db: livedb.Database) -> dict[str, Documents]:
    """The same as SQL sees them."""
    workspace = workspace_of(db)
    found: dict[str, Documents] = {}
    with workspace.folder.snapshot() as snapshot:
        for table in workspace.committer.catalog_at(snapshot.number):
            loaded = snapshot.load_table(table.number)
            columns = (loaded.ids, loaded.creation_times, loaded.texts)
            found[table.definition.name] = {
                document_id: (time, text)
                for document_id, time, text in zip(
                    *(column.to_pylist() for column in columns), strict=True
                )
            }
    return found


def replay_of(db: livedb.Database) -> tuple[dict[str, Documents], dict[str, int]]:
    """The same as the log tells it; and the rows of bulk loads, which it names without content."""
    catalog = Catalog()
    by_number: dict[int, Documents] = defaultdict(dict)
    loaded: dict[int, int] = defaultdict(int)
    for commit in workspace_of(db).log.read(after=0):
        for part in decode_payload(commit.payload):
            match part:
                case SchemaPart():
                    catalog = Catalog.from_json(catalog_of(part))
                case ClearPart():
                    by_number[part.table].clear()
                    loaded[part.table] = 0
                case LoadPart():
                    loaded[part.table] += part.rows
                case FillPart():
                    documents = by_number[part.table]
                    values = {path: decode_value(text) for path, text in part.defaults.items()}
                    fill = compile_filler(values.items())
                    for document_id, (time, text) in documents.items():
                        documents[document_id] = (time, encode_fields(fill(decode_fields(text))))
                case DocumentsPart():
                    for table, document_id, time, text in part.writes:
                        if text is None:
                            del by_number[table][document_id]
                        else:
                            by_number[table][document_id] = (time, text)
    names = {table.number: table.definition.name for table in catalog}
    return (
        {name: by_number[number] for number, name in names.items()},
        {names[number]: rows for number, rows in loaded.items() if number in names},
    )


def check_agreement(db: livedb.Database) -> None:
    """Row store == DuckDB == replay of the log."""
    rows, tables = rows_of(db), tables_of(db)
    assert rows == tables
    logged, loaded = replay_of(db)
    assert rows.keys() == logged.keys()
    for name, documents in rows.items():
        if name in loaded:
            assert documents.items() >= logged[name].items()
            assert len(documents) == len(logged[name]) + loaded[name]
        else:
            assert documents == logged[name]
    workspace_of(db).rows._check()
    workspace_of(db).backlog._check()


def check_storm(db: livedb.Database, acknowledged: Iterable[str]) -> dict[str, int]:
    """Nothing acknowledged is lost, nothing torn; returns how far each writer has come."""
    wanted: dict[str, int] = defaultdict(int)
    for line in acknowledged:
        words = line.split()
        if words[0] == "step":
            wanted[words[1]] = max(wanted[words[1]], int(words[2]))
        elif words[0] in ("load", "shape"):
            wanted[words[0]] = max(wanted[words[0]], int(words[1]))
        else:
            assert line == "READY", line
    counters = {
        row["writer"]: row["n"]
        for row in db.sql("select writer, n from counters").to_arrow().to_pylist()
    }
    sides = [
        {
            (row["writer"], row["n"])
            for row in db.sql(f'select * from "{name}"').to_arrow().to_pylist()
        }
        for name in ("left", "right")
    ]
    assert sides[0] == sides[1], "a torn mutation"
    expected = {
        (writer, n)
        for writer, last in counters.items()
        for n in range(1, last + 1)
        if (n + 3) % 7 or n + 3 > last
    }
    assert sides[0] == expected
    found = dict(counters)
    if "bulk" in db.tables and db["bulk"].count():  # a kill may come before the first load
        batches = (
            db.sql("select batch, count(*) as rows from bulk group by 1").to_arrow().to_pylist()
        )
        assert all(each["rows"] == 40 for each in batches), "a torn load"
        numbers = sorted(each["batch"] for each in batches)
        assert numbers == list(range(1, len(numbers) + 1))
        found["load"] = len(numbers)
    shape = db.backend.catalog().get("shape")
    if shape is not None:
        found["shape"] = dict(shape.definition.document.items)["n"].value
    lost = {
        name: (last, found.get(name, 0))
        for name, last in wanted.items()
        if last > found.get(name, 0)
    }
    assert not lost, f"acknowledged but lost: {lost}"
    return found
