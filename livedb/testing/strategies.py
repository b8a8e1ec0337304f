"""Hypothesis strategies: every value a document may hold, and documents made to break things.

    @given(documents())
    def test_every_document_comes_back(fields): ...

All produce canonical values (`livedb.canonical.canonical` changes nothing but copies).
"""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from livedb.limits import INT_SAFE_MAX
from livedb.values import INT64_MAX, INT64_MIN, Int64, Value

ODD_FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.1, 3.0, 1e16, 1e22, 5e-324, -5e-324, 2.2250738585072014e-308,
    1.7976931348623157e308, float(2**53), float(2**53) + 2, float("inf"), float("-inf"),
    float("nan"),
)  # fmt: skip
ODD_INTS = (0, 1, -1, 2**31, 2**32, INT_SAFE_MAX - 1, INT_SAFE_MAX, -INT_SAFE_MAX)
ODD_INT64S = (
    Int64(INT64_MIN),
    Int64(INT64_MIN + 1),
    Int64(INT64_MAX),
    *(
        Int64(sign * (1 << bits) + step)
        for bits in (0, 7, 8, 15, 16, 31, 32, 53, 62)
        for sign in (1, -1)
        for step in (-1, 0, 1)
    ),
)
ODD_TEXTS = (
    "", "\x00", "a", "a\x00", "a\x00b", "\x00\xff", "\x01", "é", "\uffff", "\U0001f600",
    "\U0010ffff", "\u2028", '"', "\\", "null", "NaN", "3", "2026-01-01", "<script>", "$float",
    "kg27rxfv99gzp01wmph0gvt92d6hnvy6", "=cmd()", "a" * 300,
)  # fmt: skip
ODD_BYTES = (b"", b"\x00", b"\x00\xff", b"\xff", b"\xff\xfe", b"a", bytes(range(256)))
ODD_DATETIMES = (
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC),
)
ODD_NAMES = (
    "", " ", "a b", "a.b", "a-b", "0", "__proto__", "constructor", "_id", "_a", "A", "a",
    "Title", "title", "TITLE", "select", "items", "get", '"', "'", "~", "{", "[0]", "a" * 300,
)  # fmt: skip


def texts() -> st.SearchStrategy[str]:
    """Any Unicode text, astral characters and U+0000 included; no lone surrogates."""
    return st.sampled_from(ODD_TEXTS) | st.text(st.characters(codec="utf-8"), max_size=20)


def numbers() -> st.SearchStrategy[int | float]:
    """Whole numbers within +-2^53 and floats of every kind."""
    ints = st.sampled_from(ODD_INTS) | st.integers(-INT_SAFE_MAX, INT_SAFE_MAX)
    floats = st.sampled_from(ODD_FLOATS) | st.floats(allow_nan=False)
    return ints | floats


def int64s() -> st.SearchStrategy[Int64]:
    """The whole range of Int64, most often where its encoding changes width."""
    return st.sampled_from(ODD_INT64S) | st.integers(INT64_MIN, INT64_MAX).map(Int64)


def datetimes() -> st.SearchStrategy[datetime]:
    """Moments in UTC from year 1 to 9999, to the microsecond."""
    moments = st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC, fold=0))
    return st.sampled_from(ODD_DATETIMES) | moments


def primitives() -> st.SearchStrategy[Value]:
    """Every type of value that holds no other."""
    return st.one_of(
        st.none(),
        st.booleans(),
        numbers(),
        texts(),
        int64s(),
        st.sampled_from(ODD_BYTES) | st.binary(max_size=20),
        datetimes(),
    )


def plain_primitives() -> st.SearchStrategy[Value]:
    """Primitives that JSON holds as they are: no bytes, Int64, datetime, NaN or infinity."""
    finite = st.floats(allow_nan=False, allow_infinity=False)
    ints = st.integers(-INT_SAFE_MAX, INT_SAFE_MAX)
    return st.one_of(st.none(), st.booleans(), finite, ints, texts())


def names() -> st.SearchStrategy[str]:
    """Names of fields of nested objects, most of them no identifiers."""
    printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
    free = st.text(printable, max_size=10).filter(lambda name: not name.startswith("$"))
    return st.sampled_from(ODD_NAMES) | free


def field_names() -> st.SearchStrategy[str]:
    """Names of top-level fields: as `names()`, but never starting with `_`."""
    return names().filter(lambda name: not name.startswith("_"))


def identifiers() -> st.SearchStrategy[str]:
    """Names that a schema accepts for tables, indexes and fields."""
    return st.from_regex(r"[a-z][A-Za-z0-9_]{0,9}", fullmatch=True)


def values(*, max_leaves: int = 12) -> st.SearchStrategy[Value]:
    """Any value."""
    return st.recursive(
        primitives(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names(), inner, max_size=5),
        max_leaves=max_leaves,
    )


def documents(*, max_fields: int = 8) -> st.SearchStrategy[dict[str, Value]]:
    """The fields of ordinary documents: identifiers for names, any values; no system fields."""
    return st.dictionaries(identifiers(), values(max_leaves=6), max_size=max_fields)


def hostile_documents() -> st.SearchStrategy[dict[str, Value]]:
    """The fields of documents chosen to break what handles them.

    Odd and case-colliding names, nesting to the limit, and one type of value after another under
    the same name over several documents.
    """
    few_names = st.sampled_from(("a", "A", "b", "", "a b", "x.y", "select"))
    return st.one_of(
        st.dictionaries(field_names(), values(), max_size=8),
        st.dictionaries(few_names, values(), max_size=6),
        st.builds(lambda name, value: {name: value}, field_names(), deep_values()),
    )


def deep_values(*, nesting: int = 15) -> st.SearchStrategy[Value]:
    """Values nested `nesting` levels deep; 15 is the most a field of a stored document may have."""

    def wrap(wrappers: list[str | None], leaf: Value) -> Value:
        value = leaf
        for name in wrappers:
            value = [value] if name is None else {name: value}
        return value

    wrappers = st.lists(st.none() | names(), min_size=nesting, max_size=nesting)
    return st.builds(wrap, wrappers, primitives())
