"""Files of a table on screen, for the page that shows it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias, cast, get_args

import pyarrow as pa
import pyarrow.compute as pc

from livedb.errors import LimitError
from livedb.interchange.exports import write_rows
from livedb.wording import counted, size_text

DownloadFormat: TypeAlias = Literal["csv", "parquet", "arrow", "tsv"]

DOWNLOAD_BYTES_MAX: Final = 256 << 20
"""Of the rows in memory: larger files are written by the kernel, not carried to a page."""

PART_BYTES: Final = 4 << 20
"""Of a file that travels in one message; Jupyter's servers refuse messages of 10 MB."""


class PageFile(NamedTuple):
    """A file on its way to a page.

    Attributes:
        size: bytes of it.
        parts: its bytes, `PART_BYTES` in each but the last; an empty one has one of none.
    """

    name: str
    size: int
    parts: Iterable[bytes]

    @property
    def part_count(self) -> int:
        """In how many messages it travels."""
        return max(1, -(-self.size // PART_BYTES))


_FORMULA = r"^([=+\-@\t\r])"
"""How a text begins that a spreadsheet takes for a formula."""


def read_format(text: str) -> DownloadFormat:
    """The format that a page names.

    Raises:
        ValueError: there is none of that name.
    """
    if text not in get_args(DownloadFormat):
        raise ValueError(
            f"a table is written to {', '.join(get_args(DownloadFormat))}, not {text!r}"
        )
    return cast("DownloadFormat", text)


def file_of(table: pa.Table, format: DownloadFormat) -> bytes:  # noqa: A002 - the word users know
    """The bytes of a file of these rows.

    In CSV a text that a spreadsheet would take for a formula begins with an apostrophe; `tsv` is
    for the clipboard: values alone, as they are, a line per row.

    Raises:
        LimitError: the rows take more than `DOWNLOAD_BYTES_MAX`.
    """
    if table.nbytes > DOWNLOAD_BYTES_MAX:
        raise LimitError(
            f"These {counted(table.num_rows, 'row')} take {size_text(table.nbytes)}, and a page is "
            f"sent {size_text(DOWNLOAD_BYTES_MAX)} at most: write the file in a cell, with "
            ".to_parquet(path) or .to_csv(path)."
        )
    file = io.BytesIO()
    match format:
        case "arrow":
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
        case "parquet":
            write_rows(table, file, format="parquet")
        case "csv":
            write_rows(_without_formulas(table), file, format="csv")
        case "tsv":
            return _lines(table).encode()
    return file.getvalue()


def page_file(name: str, content: bytes) -> PageFile:
    """A file that is in memory."""
    starts = range(0, len(content) or 1, PART_BYTES)
    return PageFile(name, len(content), (content[at : at + PART_BYTES] for at in starts))


def name_of(title: str, format: DownloadFormat) -> str:  # noqa: A002 - the word users know
    """What the file is called: the letters and digits of the title."""
    words = re.findall(r"\w+", title)
    return f"{'_'.join(words)[:60] or 'rows'}.{format}"


def _without_formulas(table: pa.Table) -> pa.Table:
    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = table.column(at)
            escaped = pc.replace_substring_regex(column, _FORMULA, r"'\1")
            table = table.set_column(at, field, escaped)
    return table


def _lines(table: pa.Table) -> str:
    columns = [column.to_pylist() for column in table.columns]
    return "\n".join("\t".join(_cell(value) for value in row) for row in zip(*columns, strict=True))


def _cell(value: object) -> str:
    return "" if value is None else re.sub(r"[\t\r\n]", " ", str(value))
