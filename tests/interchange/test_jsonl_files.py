"""JSON Lines: every value exactly, a block at a time, and a line number for what is none."""

from __future__ import annotations

import gzip
import json
import math
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import livedb
from livedb import text
from livedb.errors import LivedbError, LoadError
from livedb.interchange import jsonl_files
from livedb.interchange.sources import open_source
from livedb.store.marks import has_mark
from livedb.testing import strategies
from livedb.values import Int64, Value, same_value
from tests.thorough import examples


@pytest.fixture(params=[2, 4096], autouse=True)
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl_files, "BLOCK_ROWS", request.param)


def read(folder: Path, data: str | bytes, **options: Any) -> pa.Table:
    path = folder / "x.jsonl"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return open_source(path, **options).reader().read_all()


def stored(folder: Path, data: str | bytes, **options: Any) -> list[dict[str, Value]]:
    """The documents of a new table that the lines were loaded into."""
    path = folder / "x.jsonl"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with livedb.open() as db:
        db.load("t", path, **options)

        @db.query
        def everything(ctx) -> list[Any]:
            return ctx.db.query("t").collect()

        return [
            {name: value for name, value in each.items() if name[0] != "_"} for each in everything()
        ]


@pytest.mark.parametrize(
    "line, document",
    [
        ('{"a": 1}', {"a": 1}),
        ('{"a": 1.0}', {"a": 1.0}),
        ('{"a": -0.0}', {"a": -0.0}),
        ('{"a": 9007199254740992}', {"a": 2**53}),
        ('{"a": true, "b": null}', {"a": True, "b": None}),
        ('{"a": [1, 1.0, true]}', {"a": [1, 1.0, True]}),
        ('{"a": "\\u00e4\\ud83d\\ude00"}', {"a": "\u00e4\U0001f600"}),
        ('{"a": {"$int64": "9223372036854775807"}}', {"a": Int64(2**63 - 1)}),
        ('{"a": {"$bytes": "eA=="}}', {"a": b"x"}),
        ('{"a": [{"$float": "nan"}]}', {"a": [math.nan]}),
        ('{"a": {"$datetime": "2026-01-01T00:00:00.000001Z"}}',
         {"a": datetime(2026, 1, 1, 0, 0, 0, 1, UTC)}),
        ('{"a": ""}', {"a": ""}),
        ("{}", {}),
    ],
)  # fmt: skip
def test_a_line_is_the_document_it_says(
    tmp_path: Path, line: str, document: dict[str, Value]
) -> None:
    for data in (line, f"{line}\r\n\n  \n{line}", f"\ufeff{line}\n"):
        for found in stored(tmp_path, data):
            assert same_value(found, document), found


def test_lines_of_several_kinds_are_each_kept(tmp_path: Path) -> None:
    documents: list[dict[str, Value]] = [{"a": 1}, {"a": 1.0}, {"b": None}, {"a": "1"}, {}]
    data = "\n".join(map(json.dumps, documents))
    assert all(map(same_value, stored(tmp_path, data), documents))


@settings(max_examples=examples(10), deadline=None)
@given(documents=st.lists(strategies.documents(), min_size=1, max_size=5))
def test_the_text_form_is_read_back_to_the_last_bit(
    documents: list[dict[str, Value]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = b"\n".join(text.encode_value(each) for each in documents)
    for found, wanted in zip(stored(tmp_path_factory.mktemp("x"), data), documents, strict=True):
        assert found.keys() == wanted.keys()
        assert all(same_value(found[name], wanted[name]) for name in wanted)


def test_the_schema_says_what_text_stands_for(tmp_path: Path) -> None:
    lines = (
        '{"f": "NaN", "t": "2026-01-01T00:00:00Z", "b": "eA==", "n": 3}\n'
        '{"f": 1, "t": null, "b": "", "n": {"$int64": "4"}}\n'
    )
    fields: Any = {"f": "float", "t": "datetime", "b": "bytes", "n": "int64"}
    table = read(tmp_path, lines, fields=fields)
    assert math.isnan(table["f"][0].as_py())
    assert table["t"][0].as_py() == datetime(2026, 1, 1, tzinfo=UTC)
    assert table["b"].to_pylist() == [b"x", b""]
    assert table["n"].to_pylist() == [3, 4]
    assert has_mark(table.schema.field("n"), "int64")
    naive = '{"t": "2026-07-01T12:00:00"}'
    with pytest.raises(LoadError, match=r"'t', row 0.*time zone"):
        read(tmp_path, naive, fields=fields)
    found = read(tmp_path, naive, fields=fields, tz="America/New_York")["t"][0].as_py()
    assert found == datetime(2026, 7, 1, 16, tzinfo=UTC)
    for wrong in ('{"t": "soon"}', '{"b": "?"}', '{"n": 9223372036854775808}'):
        with pytest.raises(LoadError, match=r"Column '[tbn]', row 1"):
            read(tmp_path, "{}\n" + wrong, fields=fields)


@pytest.mark.parametrize(
    "line, words",
    [
        (b"[1]", "an object is expected"),
        (b'{"$bytes": "eA=="}', "an object is expected"),
        (b'{"a": 1} {"a": 2}', "trailing"),
        (b'{"a": 1', "truncated"),
        (b'{"a": NaN}', "malformed"),
        (b'{"a": 1e400}', "out of range"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": "\\ud800"}', ""),
        (b'{"a": {"$what": 1}}', "what"),
        (b'{"a": {"$bytes": 1}}', ""),
        (b'{"a": {"$datetime": "soon"}}', "soon"),
        (b'{"a": {"$int64": "9223372036854775808"}}', "64-bit"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    ],
)
def test_what_is_no_document_is_refused_with_its_line(
    tmp_path: Path, line: bytes, words: str
) -> None:
    with pytest.raises(LoadError, match=f"(?s)line 3: .*{words}"):
        read(tmp_path, b'{"a": 1}\n\n' + line + b"\n")


@pytest.mark.parametrize(
    "line",
    ['{"a": 9007199254740993}', '{"a": 1e30, "b": 123456789012345678901234567890}',
     '{"$a": 1, "b": 2}', '{"a": {"\\u0024b": 1}}', '{"_id": "x"}', '{"_x": 1}', '{"\\u00e4": 1}'],
)  # fmt: skip
def test_what_no_table_can_hold_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(LivedbError):
        stored(tmp_path, line)


def test_a_line_without_an_end_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_files, "_LINE_BYTES_MAX", 1 << 10)
    with pytest.raises(LoadError, match="line 2: a line of more than"):
        read(tmp_path, b'{"a": 1}\n' + b" " * 2000)


def test_packed_and_several_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))
    (tmp_path / "b.ndjson").write_bytes(b'{"b": 2}')
    source = open_source([tmp_path / "a.jsonl.gz", tmp_path / "b.ndjson"])
    assert source.rows == 2
    assert source.reader().read_all().select(["a", "b"]).to_pylist() == [
        {"a": 1, "b": None},
        {"a": None, "b": 2},
    ]
    (tmp_path / "empty.jsonl").write_bytes(b"")
    assert open_source(tmp_path / "empty.jsonl").rows == 0


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n')
    for changed in ('{"a": "x"}', '{"b": 1}'):
        path.write_text('{"a": 1}\n')
        source = open_source(path)
        path.write_text(changed)
        with pytest.raises(LoadError, match="changed"):
            source.reader().read_all()


def test_memory_stays_flat_however_large_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_files, "BLOCK_ROWS", 256)
    path = tmp_path / "x.jsonl"

    def lines(copies: int) -> Iterator[str]:
        return (f'{{"a": {n}, "b": "text {n}"}}\n' for n in range(copies))

    def peak(copies: int) -> int:
        with path.open("w") as file:
            file.writelines(lines(copies))
        base = pa.total_allocated_bytes()
        high = 0
        tracemalloc.start()
        try:
            for batch in open_source(path).reader():
                high = max(high, pa.total_allocated_bytes() - base)
                del batch
            return high + tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < 2 * peak(2_000)
