"""The text of documents made by SQL: the bytes `livedb.text.encode_fields` would write, set-wise.

Each field becomes a piece `,"name":value`, or nothing where a row lacks it; DuckDB joins the pieces
of a row behind its flag byte. Numbers are the hard part: DuckDB and msgspec both print the shortest
digits that read back, but agree on where to put the point only between 1e-4 and 1e16.

What a batch says of itself (no nulls, no characters to escape, no odd floats) makes its SQL short:
one `concat` of columns and constants costs DuckDB half of what the general form does.

Property-tested against `livedb.text` over every column type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

from livedb.limits import DOCUMENT_BYTES_MAX
from livedb.store.connection import quote_text
from livedb.store.packed import packed_texts

TextKind: TypeAlias = Literal[
    "string", "id", "boolean", "int", "float", "int64", "datetime", "bytes", "json", "null"
]
"""How a column's values are written; "json" columns are text already."""

SMALL_TEXT_BYTES = DOCUMENT_BYTES_MAX // 16
"""A text below it cannot be a document that is too large: a byte of text counts at most nine."""

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
        has_nulls: whether some value of the column is null.
        has_odd_floats: whether some float of it is not printed alike by DuckDB and msgspec.
    """

    name: str
    kind: TextKind
    column: str | None = None
    constant: str = ""
    is_constant_tagged: bool = False
    present: str | None = None
    tagged: str | None = None
    needs_escapes: bool = False
    has_nulls: bool = True
    has_odd_floats: bool = True


def document_sql(pieces: Sequence[Piece]) -> str:
    """The SQL of the stored text of a row: flag byte, then the object."""
    if not pieces:
        return "chr(0) || '{}'"
    row = _Concatenation(_flag_sql(pieces))
    row.add_text("{")
    if pieces[0].present is None:
        # The first piece needs no comma then, and none has to be cut off again.
        row.add_piece(pieces[0], comma="")
        for piece in pieces[1:]:
            row.add_piece(piece, comma=",")
    else:
        fields = _Concatenation()
        for piece in pieces:
            fields.add_piece(piece, comma=",")
        row.add_sql(f"substr({fields.sql()}, 2)")
    row.add_text("}")
    return row.sql()


def needs_escapes(column: pa.Array[Any]) -> bool:
    """Whether any text of a string column holds a quote, a backslash or a control character."""
    data, _ = packed_texts(column)
    return bool(((data < 0x20) | (data == 0x22) | (data == 0x5C)).any())


def has_odd_floats(column: pa.Array[Any]) -> bool:
    """Whether any float of a column is NaN, infinite, or of a size that msgspec prints its way."""
    sizes = np.abs(column.drop_null().to_numpy())
    return not bool(((sizes == 0) | ((sizes >= 1e-4) & (sizes < 1e16))).all())


class _Concatenation:
    """An SQL `concat` in the making; constants that stand side by side become one."""

    def __init__(self, first: str | None = None) -> None:
        self._parts: list[str] = []
        self._text = ""
        self._first = first

    def add_text(self, text: str) -> None:
        """A constant."""
        self._text += text

    def add_sql(self, sql: str) -> None:
        """An expression."""
        self._flush()
        self._parts.append(sql)

    def add_piece(self, piece: Piece, *, comma: str) -> None:
        """`,"name":value`; NULL, which concat passes over, in rows that lack the field."""
        if piece.present is None:
            self.add_text(f"{comma}{msgspec.json.encode(piece.name).decode()}:")
            self._add_value(piece)
        else:
            whole = _Concatenation()
            whole.add_piece(replace(piece, present=None), comma=comma)
            self.add_sql(f"CASE WHEN {piece.present} THEN {whole.sql()} END")

    def sql(self) -> str:
        """The expression."""
        self._flush()
        return f"concat({', '.join(self._parts)})"

    def _add_value(self, piece: Piece) -> None:
        if piece.column is None:
            self.add_text(piece.constant)
        elif piece.has_nulls:
            self.add_sql(f"coalesce({_value_sql(piece)}, 'null')")
        elif piece.kind in ("string", "id"):
            self.add_text('"')
            self.add_sql(_escaped_sql(piece))
            self.add_text('"')
        else:
            self.add_sql(_value_sql(piece))

    def _flush(self) -> None:
        if self._text:
            constant = quote_text(self._text)
            # chr(0) cannot stand in SQL; DuckDB makes one constant of it and what follows.
            head, self._first = self._first, None
            self._parts.append(constant if head is None else f"{head} || {constant}")
            self._text = ""


def _value_sql(piece: Piece) -> str:
    """The JSON text of a value, NULL where it is null."""
    if piece.kind in ("string", "id"):
        return f"""'"' || {_escaped_sql(piece)} || '"'"""
    if piece.kind == "float" and not piece.has_odd_floats:
        return f"{piece.column}::VARCHAR"
    return _VALUES[piece.kind].format(piece.column)


def _escaped_sql(piece: Piece) -> str:
    text = str(piece.column)
    if piece.needs_escapes:
        for character, escape in _ESCAPES:
            text = f"replace({text}, {_character(character)}, {quote_text(escape)})"
    return text


def _character(character: str) -> str:
    return quote_text(character) if character >= " " else f"chr({ord(character)})"


def _flag_sql(pieces: Sequence[Piece]) -> str:
    """chr(1) for a row that holds a tag, chr(0) for one that does not."""
    conditions = [condition for piece in pieces for condition in _tagged_sql(piece)]
    if not conditions:
        return "chr(0)"
    return f"(CASE WHEN {' OR '.join(conditions)} THEN chr(1) ELSE chr(0) END)"


def _tagged_sql(piece: Piece) -> list[str]:
    if piece.column is None:
        return [piece.present or "true"] if piece.is_constant_tagged else []
    if piece.tagged is not None:
        return [piece.tagged]
    if piece.kind in _ALWAYS_TAGGED:
        return [f"{piece.column} IS NOT NULL"]
    if piece.kind == "float" and piece.has_odd_floats:
        return [f"coalesce(NOT isfinite({piece.column}), false)"]
    return []
