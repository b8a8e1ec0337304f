"""The text of documents made by SQL: the bytes `livedb.text.encode_fields` would write, set-wise.

Each field becomes a piece `,"name":value`, or nothing where a row lacks it; DuckDB joins the pieces
of a row behind its flag byte. Numbers are the hard part: DuckDB and msgspec both print the shortest
digits that read back, but agree on where to put the point only between 1e-4 and 1e16.

Property-tested against `livedb.text` over every column type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
import pyarrow as pa

from livedb.store.marks import sql_text
from livedb.store.packed import packed_texts

TextKind: TypeAlias = Literal[
    "string", "id", "boolean", "int", "float", "int64", "datetime", "bytes", "json", "null"
]
"""How a column's values are written; "json" columns are text already."""

_FLOAT = """CASE WHEN {0} = 0 OR (abs({0}) >= 1e-4 AND abs({0}) < 1e16) THEN {0}::VARCHAR
WHEN isnan({0}) THEN '{{"$float":"nan"}}' -- DuckDB prints a sign that means nothing
WHEN NOT isfinite({0}) THEN '{{"$float":"' || {0}::VARCHAR || '"}}'
WHEN abs({0}) >= 1e-5 AND abs({0}) < 1e-4 THEN CASE WHEN {0} < 0 THEN '-0.0000' ELSE '0.0000' END
  || replace(split_part(abs({0})::VARCHAR, 'e', 1), '.', '')
ELSE replace(replace({0}::VARCHAR, 'e+', 'e'), 'e-0', 'e-') END"""

_VALUES: dict[TextKind, str] = {
    "boolean": "{0}::VARCHAR",
    "int": "{0}::VARCHAR",
    "float": _FLOAT,
    "int64": """'{{"$int64":"' || {0}::VARCHAR || '"}}'""",
    "datetime": """'{{"$datetime":"' || strftime({0}, '%Y-%m-%dT%H:%M:%S.%fZ') || '"}}'""",
    "bytes": """'{{"$bytes":"' || to_base64({0}) || '"}}'""",
    "json": "{0}",
    "null": "NULL",
}

_ALWAYS_TAGGED = frozenset({"int64", "datetime", "bytes"})

_ESCAPES = [("\\", "\\\\"), ('"', '\\"')] + [
    (chr(code), msgspec.json.encode(chr(code)).decode()[1:-1]) for code in range(32)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One field of the text, and the columns that say it.

    Attributes:
        name: the field.
        column: the column of its values; None for the same text in every row (`constant`).
        present: the column that tells the rows with this piece; None when all have it.
        tagged: the column that tells the rows whose JSON holds tags; None where the kind decides.
        needs_escapes: whether some text of the column holds characters that JSON escapes.
    """

    name: str
    kind: TextKind
    column: str | None = None
    constant: str = ""
    is_constant_tagged: bool = False
    present: str | None = None
    tagged: str | None = None
    needs_escapes: bool = False


def document_sql(pieces: Sequence[Piece]) -> str:
    """The SQL of the stored text of a row: flag byte, then the object."""
    if not pieces:
        return "chr(0) || '{}'"
    flag = _flag_sql(pieces)
    if pieces[0].present is None:
        # The first piece needs no comma then, and none has to be cut off again.
        body = ", ".join([_piece_sql(pieces[0], ""), *map(_piece_sql, pieces[1:])])
        return f"concat({flag}, '{{', {body}, '}}')"
    return f"concat({flag}, '{{', substr(concat({', '.join(map(_piece_sql, pieces))}), 2), '}}')"


def needs_escapes(column: pa.Array[Any]) -> bool:
    """Whether any text of a string column holds a quote, a backslash or a control character."""
    data, _ = packed_texts(column)
    return bool(((data < 0x20) | (data == 0x22) | (data == 0x5C)).any())


def _piece_sql(piece: Piece, comma: str = ",") -> str:
    """SQL that gives `,"name":value`, or NULL (which concat passes over) where it is absent."""
    label = sql_text(f"{comma}{msgspec.json.encode(piece.name).decode()}:")
    if piece.column is None:
        value = sql_text(piece.constant)
    else:
        value = f"coalesce({_value_sql(piece)}, 'null')"
    if piece.present is None:
        return f"{label}, {value}"
    return f"CASE WHEN {piece.present} THEN {label} || {value} END"


def _value_sql(piece: Piece) -> str:
    assert piece.column is not None
    name = piece.column
    if piece.kind not in ("string", "id"):
        return _VALUES[piece.kind].format(name)
    text = name
    if piece.needs_escapes:
        for character, escape in _ESCAPES:
            text = f"replace({text}, {_character(character)}, {sql_text(escape)})"
    return f"""'"' || {text} || '"'"""


def _character(character: str) -> str:
    return sql_text(character) if character >= " " else f"chr({ord(character)})"


def _flag_sql(pieces: Sequence[Piece]) -> str:
    """chr(1) for a row that holds a tag, chr(0) for one that does not."""
    conditions = [condition for piece in pieces for condition in _tagged_sql(piece)]
    if not conditions:
        return "chr(0)"
    return f"CASE WHEN {' OR '.join(conditions)} THEN chr(1) ELSE chr(0) END"


def _tagged_sql(piece: Piece) -> list[str]:
    if piece.column is None:
        return [piece.present or "true"] if piece.is_constant_tagged else []
    if piece.tagged is not None:
        return [piece.tagged]
    if piece.kind in _ALWAYS_TAGGED:
        return [f"{piece.column} IS NOT NULL"]
    return [f"coalesce(NOT isfinite({piece.column}), false)"] if piece.kind == "float" else []
