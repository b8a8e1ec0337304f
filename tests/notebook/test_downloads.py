"""Files of what a table shows, as a page gets them."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from livedb.errors import LimitError
from livedb.notebook import downloads
from livedb.notebook.downloads import file_of, name_of, read_format

EVIL = ["=cmd()", "+1", "-1", "@x", "\tx", "\rx", "fine", "", "a=b", None, "\u200f\u0627"]
TABLE = pa.table({"text": EVIL, "n": list(range(len(EVIL)))})


def test_csv_says_no_formula_and_leaves_all_else():
    lines = file_of(TABLE, "csv").decode().splitlines()
    assert lines[:5] == ["text,n", "'=cmd(),0", "'+1,1", "'-1,2", "'@x,3"]
    assert lines[-5:] == ["fine,6", '"",7', "a=b,8", ",9", "\u200f\u0627,10"]


def test_numbers_below_zero_are_no_formulas():
    assert file_of(pa.table({"n": [-1]}), "csv") == b"n\n-1\n"


@pytest.mark.parametrize(
    "read", [("parquet", pq.read_table), ("arrow", lambda f: pa.ipc.open_file(f).read_all())]
)
def test_parquet_and_arrow_hold_every_value_as_it_is(read):
    format_, read_file = read
    assert read_file(io.BytesIO(file_of(TABLE, format_))).equals(TABLE)


def test_the_clipboard_gets_a_line_per_row():
    assert file_of(pa.table({"a": ["x\ty", None], "b": [1, 2]}), "tsv") == b"x y\t1\n\t2"


def test_no_rows_are_a_file_too():
    assert file_of(TABLE.slice(0, 0), "csv") == b"text,n\n"


def test_more_than_a_page_is_sent_says_what_to_do(monkeypatch):
    monkeypatch.setattr(downloads, "DOWNLOAD_BYTES_MAX", 10)
    with pytest.raises(LimitError, match=r"write the file in a cell, with \.to_parquet\(path\)"):
        file_of(TABLE, "csv")


def test_a_file_is_named_by_the_letters_of_its_title():
    assert name_of("open_tasks(user='../../ann')", "csv") == "open_tasks_user_ann.csv"
    assert name_of("/", "parquet") == "rows.parquet"


def test_only_known_formats_are_written():
    assert read_format("csv") == "csv"
    with pytest.raises(ValueError, match="csv, parquet, arrow, tsv, not 'exe'"):
        read_format("exe")
