"""Frames of handles: their types follow from what is declared, with documents and without."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from livedb import UNSET, Missing, v

DATETIME = "datetime64[us, UTC]"


def test_frames_of_a_handle(shop):
    shop["items"].insert([{"kind": "a", "price": n} for n in range(3)])
    handle = shop.of_kind.live(kind="a")
    assert handle.df["price"].tolist() == [0, 1, 2]
    dtypes = handle.df.dtypes
    empty = shop.of_kind.live(kind="none")
    assert empty.df.dtypes.equals(dtypes)
    assert handle.to_arrow().num_rows == 3


def test_the_frame_of_a_query_without_annotations_has_the_tables_types(shop):
    @shop.query
    def bare(ctx):
        return ctx.db.query("items").collect()

    @shop.query
    def reshaped(ctx):
        return [{"_id": i._id, "price": str(i.price)} for i in ctx.db.query("items")]

    @shop.table("spare")
    class Spare:
        note: str | None
        size: int | Missing = UNSET

    @shop.query
    def spares(ctx):
        return ctx.db.query(Spare).collect()

    shop["spare"].insert({"note": None})
    assert [str(spares.live().to_arrow().schema.field(n).type) for n in ("note", "size")] == [
        "string",
        "int64",
    ]
    shop["items"].insert({"kind": "a", "price": 1})
    typed = shop.of_kind.live(kind="a").to_arrow().schema
    assert set(bare.live().to_arrow().schema) == set(typed)
    assert reshaped.live().to_arrow().to_pylist()[0]["price"] == "1"
    assert shop["items"].with_index("by_kind", kind="a").live().to_arrow().schema.names


@pytest.mark.parametrize(
    "narrowed",
    [
        lambda table: table.with_index("by_day", day=7),
        lambda table: table.filter(lambda q: q.eq(q.field("day"), 7)),
        lambda table: table.order("desc").filter(lambda q: q.eq(q.field("day"), 7)),
    ],
)
def test_a_narrowed_table_has_the_same_frame_with_documents_and_without(memory, narrowed):
    @memory.table("visits", indexes={"by_day": ["day"]})
    class Visit:
        day: int
        left: datetime | None
        tags: list[int]

    empty = narrowed(memory["visits"]).live()
    before = empty.df
    memory["visits"].insert({"day": 7, "left": None, "tags": []})
    assert len(before) == 0
    assert empty.df.dtypes.equals(before.dtypes)
    assert before.dtypes.equals(memory["visits"].df.dtypes)


def test_the_frame_of_one_document_has_the_types_that_the_annotation_says(memory):
    @memory.table("visits")
    class Visit:
        day: int | None
        left: datetime | None
        tags: list[int]

    @memory.query
    def newest(ctx) -> Visit | None:
        return ctx.db.query("visits").order("desc").first()

    memory["visits"].insert({"day": None, "left": None, "tags": []})
    assert newest.live().df.dtypes.equals(memory["visits"].df.dtypes)


@pytest.mark.parametrize(
    "returns, results, dtypes",
    [
        (int | None, [None, 1], {"value": "Int64"}),
        (datetime | None, [None, datetime(2026, 1, 1, tzinfo=UTC)], {"value": DATETIME}),
        (list[int], [[], [1]], {"value": "list<item: int64>[pyarrow]"}),
        (dict[str, int | None], [{"x": None}, {"x": 1}], {"x": "Int64"}),
        (list[dict[str, float]], [[{"x": 1}], [{"x": 1.5}]], {"x": "Float64"}),
        (int | str, [1], {"value": "Int64"}),
        # What says nothing of the values leaves the types to them.
        (list[dict], [[{"x": 1, "y": "a"}]], {"x": "Int64", "y": "str"}),
        (dict[str, Any], [{"x": 1.5}], {"x": "Float64"}),
    ],
    ids=str,
)
def test_the_return_type_says_the_dtypes_of_a_result(memory, returns, results, dtypes):
    for result in results:

        def some(ctx):
            return result  # noqa: B023 - called in this turn only

        some.__annotations__["return"] = returns
        frame = memory.query(some).live().df
        assert {name: str(each) for name, each in frame.dtypes.items()} == dtypes
        assert len(frame) == 1


def test_no_document_is_no_row_of_the_documents_columns(shop):
    returns = shop.of_kind.definition.signature.returns

    @shop.query(returns=v.union(returns.element, v.null()))
    def newest(ctx):
        return ctx.db.query("items").order("desc").first()

    @shop.query(returns=v.union(returns, v.null()))
    def none(ctx):
        return None

    handle = newest.live()
    empty = handle.df
    assert (len(empty), len(none.live().df)) == (0, 0)
    shop["items"].insert({"kind": "a"})
    assert len(handle.df) == 1
    assert handle.df.dtypes.equals(empty.dtypes)
    assert none.live().df.dtypes.equals(empty.dtypes)


def test_frames_and_files_of_a_failed_query_warn_once_naming_error_and_commit(shop, tmp_path):
    shop["items"].insert({"kind": "a", "price": 1})

    @shop.query
    def inverse(ctx) -> list[dict[str, float]]:
        return [{"x": 1 / item["price"]} for item in ctx.db.query("items").collect()]

    handle, file, good = inverse.live(), inverse.live(), shop.number
    shop["items"].insert({"kind": "a", "price": 0})
    assert handle.value == [{"x": 1.0}]
    with pytest.warns(
        UserWarning, match=rf"inverse.*ZeroDivisionError.*of commit {good}\."
    ) as said:
        assert len(handle.df) == 1
    assert said[0].filename == __file__
    assert len(handle.df) == 1
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        assert file.to_parquet(tmp_path / "x.parquet").number == good
