from __future__ import annotations

from base64 import b64encode
from decimal import Decimal

import pyarrow as pa
import pytest

from livedb.notebook.figures import (
    IMAGE_BYTES_MAX,
    POINTS_MAX,
    figures_of,
    image_address,
    points_of,
)
from livedb.notebook.formats import Image, Number, Sparkline

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20


@pytest.mark.parametrize(
    "data,kind",
    [
        (PNG, "png"),
        (b"\xff\xd8\xff\xe0rest", "jpeg"),
        (b"GIF89a...", "gif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "webp"),
    ],
)
def test_bytes_are_a_picture_by_how_they_begin(data, kind):
    assert image_address(data) == f"data:image/{kind};base64,{b64encode(data).decode()}"


@pytest.mark.parametrize(
    "value",
    [
        b"<svg onload=alert(1)>",
        b"",
        PNG + b"\x00" * IMAGE_BYTES_MAX,
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:text/html;base64,PHN2Zz4=",
        "data:image/png;base64,AA==,javascript:",
        "javascript:alert(1)",
        "//example.org/a.png",
        "https://example.org/a b.png",
        "x" * 10_000_000,
        '{"$bytes":"not base64"}',
        '{"$bytes":"A"}',
        None,
        7,
        ["https://example.org"],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_anything_else_is_no_picture(value):
    assert image_address(value) is None


@pytest.mark.parametrize(
    "name",
    [
        "jh76pkekkb9q4rpmk3ncyfszhn9jv0c7",
        "file:///srv/work%20space/files/0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11",
        "s3://bucket/files/0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11",
    ],
)
def test_a_file_of_the_workspace_is_asked_for_by_its_name(name):
    assert image_address(name) == name


@pytest.mark.parametrize(
    "value",
    [
        "file:///etc/passwd",
        "file:///0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11/../passwd",
        "file:///srv/a b/0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11",
        "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu",  # no digit of an id
        "0b1e4e5e-7a1f-4f40-9c0a-6a1d6a4a7a11",
    ],
)
def test_no_other_file_is_asked_for(value):
    assert image_address(value) is None


def test_addresses_and_bytes_in_a_column_of_any_values_are_pictures():
    for address in ("https://example.org/a.png", "data:image/png;base64,AAAA"):
        assert image_address(address) == address
    tagged = '{"$bytes":"' + b64encode(PNG).decode() + '"}'
    assert image_address(tagged) == image_address(PNG)


@pytest.mark.parametrize(
    "value,points",
    [
        ([1, 2.5, None], [1.0, 2.5, None]),
        ([float("nan"), float("inf"), 3], [None, None, 3.0]),
        ("[1,2.5,null]", [1.0, 2.5, None]),
        ('[{"$float":"nan"},{"$int64":"9007199254740993"},1]', [None, 9007199254740992.0, 1.0]),
        ([Decimal("1.5")], [1.5]),
        ([], None),
        ([None], None),
        ("[]", None),
        ("[1,", None),
        ("[" * 100_000, None),
        ("[1," * 100_000 + "1]", None),
        ([True], None),
        (["1"], None),
        ([[1]], None),
        ([{"a": 1}], None),
        ('[{"$bytes":"AA=="}]', None),
        ([10**400], None),
        ("12", None),
        (12, None),
        (None, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_numbers_of_a_list(value, points):
    assert points_of(value) == points


def test_of_many_numbers_the_ends_the_least_and_the_greatest_are_kept():
    values = [float(n % 100) for n in range(50_000)]
    values[12_345], values[23_456] = 1e6, -1e6
    points = points_of(values)
    assert len(points) <= POINTS_MAX
    assert (points[0], points[-1]) == (values[0], values[-1])
    assert (min(points), max(points)) == (-1e6, 1e6)
    assert points.index(1e6) < points.index(-1e6)


def test_a_long_gap_stays_one_of_its_length():
    points = points_of([1.0] * 1_000 + [None] * 1_000 + [1.0] * 1_000)
    assert points.count(None) == pytest.approx(len(points) / 3, abs=3)


def test_only_pictures_and_lines_have_figures():
    texts = pa.array(["https://example.org/a.png", "x", None])
    assert figures_of(texts, Image()).to_pylist() == ["https://example.org/a.png", None, None]
    lists = pa.array([[1, 2], None])
    assert figures_of(lists, Sparkline(None, None)).to_pylist() == [[1.0, 2.0], None]
    assert figures_of(lists, Number("", "")) is None
    assert figures_of(lists, None) is None
