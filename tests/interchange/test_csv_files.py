"""CSV: what each cell is, what is null, what is refused; whatever the size of the file."""

from __future__ import annotations

import gzip
import math
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import livedb
from livedb.canonical import canonical
from livedb.errors import LivedbError, LoadError
from livedb.interchange import csv_files
from livedb.interchange.sources import Source, open_source
from livedb.store.marks import has_mark


def opened(folder: Path, text: str | bytes, **options: Any) -> Source:
    path = folder / "x.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return open_source(path, **options)


def rows(folder: Path, text: str | bytes, **options: Any) -> list[dict[str, Any]]:
    return opened(folder, text, **options).reader().read_all().to_pylist()


def cells(folder: Path, *texts: str, **options: Any) -> list[Any]:
    """The values of a column `x` with these cells; `y` keeps rows with an empty cell apart."""
    text = "x,y\n" + "".join(f"{each},1\n" for each in texts)
    return [canonical(row["x"]) for row in rows(folder, text, **options)]


MORNING = datetime(2026, 1, 2, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "texts, values",
    [
        (["1", "-20", ""], [1, -20, None]),
        (["0", "9007199254740992"], [0, 2**53]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1e3", "NaN", "-inf", "-0"], [1000.0, math.nan, -math.inf, -0.0]),
        ([" 1", "2 "], [1, 2]),
        (["true", "False", ""], [True, False, None]),
        (["2026-01-02", ""], [datetime(2026, 1, 2, tzinfo=UTC), None]),
        (["2026-01-02T08:30:00Z", "2026-01-02 10:30+02:00"], [MORNING, MORNING]),
        (["", ""], [None, None]),
        (["a", "1"], ["a", "1"]),
    ],
)
def test_a_column_without_a_schema_is_what_all_its_cells_are(
    tmp_path: Path, texts: list[str], values: list[Any]
) -> None:
    assert list(map(repr, cells(tmp_path, *texts))) == list(map(repr, values))


@pytest.mark.parametrize(
    "text",
    ["007", "+1", "0x1F", "9007199254740993", "12345678901234567890", "1e400", "1_000", "1,5",
     "00.5", "08:30", "2026-02-30", "0000-01-01x", "tRue", "yes", "1 2", "2026-01-02T"],
)  # fmt: skip
def test_a_text_that_would_not_come_back_stays_text(tmp_path: Path, text: str) -> None:
    assert cells(tmp_path, f'"{text}"', '""', "") == [text, "", None]


def test_the_last_row_decides_as_much_as_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 256)
    texts = [str(number) for number in range(1000)]
    assert cells(tmp_path, *texts) == list(range(1000))
    assert cells(tmp_path, *texts, "2.5") == [*map(float, range(1000)), 2.5]
    assert cells(tmp_path, *texts, "x") == [*texts, "x"]


def test_a_schema_decides_alone(tmp_path: Path) -> None:
    text = 's,i,n,f,b,t,r,j\n007,007,9223372036854775807,1,1,2026-01-02,eA==,"[1]"\n,,,,,,,\n'
    fields: Any = {"s": "string", "i": "int", "n": "int64", "f": "float", "b": "boolean",
                   "t": "datetime", "r": "bytes", "j": "any"}  # fmt: skip
    source = opened(tmp_path, text, fields=fields)
    assert has_mark(source.schema.field("n"), "int64")
    assert has_mark(source.schema.field("j"), "json")
    first, second = source.reader().read_all().to_pylist()
    assert first == {"s": "007", "i": 7, "n": 2**63 - 1, "f": 1.0, "b": True,
                     "t": datetime(2026, 1, 2, tzinfo=UTC), "r": b"x", "j": "[1]"}  # fmt: skip
    assert set(second.values()) == {None}


# --- null -----------------------------------------------------------------------------------------

PLANES = "tailnum,year,speed\nN10156,2004,NA\nNA,1998,432\n"


def test_a_word_for_null_is_named_by_the_user(tmp_path: Path) -> None:
    for words in ("NA", ["NA"], ["?", "NA"]):
        assert rows(tmp_path, PLANES, null_values=words) == [
            {"tailnum": "N10156", "year": 2004, "speed": None},
            {"tailnum": None, "year": 1998, "speed": 432},
        ]
    assert rows(tmp_path, PLANES)[0]["speed"] == "NA"


def test_the_refusal_names_option_column_row_and_cell(tmp_path: Path) -> None:
    with pytest.raises(LoadError) as refusal:
        rows(tmp_path, PLANES, fields={"speed": "int"})
    assert str(refusal.value) == (
        "Column 'speed', row 0: 'NA' is no whole number. If such a cell stands for null, pass "
        "null_values=['NA']."
    )


def test_a_quoted_word_is_null_among_numbers_and_text_among_texts(tmp_path: Path) -> None:
    assert cells(tmp_path, '"NA"', "1", null_values="NA") == [None, 1]
    assert cells(tmp_path, '"NA"', "NA", "x", null_values="NA") == ["NA", None, "x"]
    assert cells(tmp_path, '""', "1", null_values="", fields={"x": "int"}) == [None, 1]


def test_null_words_of_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"null_values.*CSV"):
        open_source([{"a": 1}], null_values="NA")
    with pytest.raises(LoadError, match=r"null_values.*texts"):
        opened(tmp_path, PLANES, null_values=[1])


def test_planes_load_into_a_table_of_their_own_schema(tmp_path: Path) -> None:
    (tmp_path / "planes.csv").write_text(PLANES)
    v = livedb.v
    with livedb.open() as db:
        planes = {"tailnum": v.nullable(v.string()), "year": v.integer(),
                  "speed": v.nullable(v.integer())}  # fmt: skip
        db.push(livedb.define_schema({"planes": livedb.define_table(planes)}))
        with pytest.raises(LivedbError, match=r"'speed', row 0: 'NA'.*null_values"):
            db.load("planes", tmp_path / "planes.csv")
        assert db["planes"].count() == 0
        db.load("planes", tmp_path / "planes.csv", null_values="NA")
        assert db.sql("select sum(speed) s from planes").to_arrow()["s"].to_pylist() == [432]


# --- datetimes ------------------------------------------------------------------------------------


def test_naive_datetimes_need_a_zone(tmp_path: Path) -> None:
    texts = ["2026-07-01 12:00", "2026-07-01T16:00:00Z", "2026-07-01"]
    for fields in ({}, {"x": "datetime"}):
        with pytest.raises(LoadError, match=r"'x'.*time zone.*tz="):
            cells(tmp_path, *texts, fields=fields)
        found = cells(tmp_path, *texts, fields=fields, tz="America/New_York")
        noon = datetime(2026, 7, 1, 16, tzinfo=UTC)
        assert found == [noon, noon, datetime(2026, 7, 1, tzinfo=UTC)]
    with pytest.raises(LoadError, match="New_York"):
        cells(tmp_path, "2026-11-01 01:30", fields={"x": "datetime"}, tz="America/New_York")


def test_nanoseconds_are_not_cut_off(tmp_path: Path) -> None:
    text = "2026-01-01T00:00:00.123456789Z"
    assert cells(tmp_path, text) == [text]
    with pytest.raises(LoadError, match="no datetime"):
        cells(tmp_path, text, fields={"x": "datetime"})


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell", ['a "word"', "a,b", "two\nlines", "two\r\nlines", " x ", "=1+1", "\u00e4\U0001f600"]
)
def test_every_text_comes_as_it_stands(tmp_path: Path, cell: str) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    assert cells(tmp_path, quoted) == [cell]


def test_packed_marked_and_several_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,x\n"))
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n2.5,y\r\n")
    source = open_source([tmp_path / "a.csv.gz", tmp_path / "b.csv"])
    assert source.rows == 2
    assert source.reader().read_all().to_pylist() == [{"a": 1.0, "b": "x"}, {"a": 2.5, "b": "y"}]
    (tmp_path / "c.csv").write_bytes(b"a,c\n1,x\n")
    with pytest.raises(LoadError, match="same columns"):
        open_source([tmp_path / "b.csv", tmp_path / "c.csv"])


@pytest.mark.parametrize(
    "data",
    [b"a,b\n1,2,3\n", b"a,b\n1\n", b"a\n\xff\n", b"\xff\xfe\n1\n", b'a,b\n"1,2\n', b"\x00\n1\n",
     b"a\n" + b"x" * 4096],
)  # fmt: skip
def test_what_is_no_csv_is_refused_typed(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 1024)
    (tmp_path / "x.csv").write_bytes(data)
    with livedb.open() as db, pytest.raises(LivedbError):
        db.load("t", tmp_path / "x.csv")


def test_memory_stays_flat_however_large_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 1 << 16)
    path = tmp_path / "x.csv"
    line = b'1,2.5,"some text of a usual length, repeated"\n'

    def peak(copies: int) -> int:
        path.write_bytes(b"a,b,c\n" + line * copies)
        tracemalloc.start()
        base = pa.total_allocated_bytes()
        high = 0
        try:
            source = open_source(path)
            for batch in source.reader():
                high = max(high, pa.total_allocated_bytes() - base)
                del batch
            return high + tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(400_000) < 2 * peak(100_000)
