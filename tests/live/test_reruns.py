"""Live results: what is run again, what is told, and what a new definition makes of them."""

from __future__ import annotations

from livedb import UNSET, Missing
from livedb.errors import ArgumentValidationError, FunctionTypeError
from tests.live.shop import prices
from tests.waiting import until

# -- work ------------------------------------------------------------------------------------------


def test_what_was_not_touched_is_not_run_again(shop):
    shop["items"].insert([{"kind": "a"}, {"kind": "b"}])
    a, b = shop.of_kind.live(kind="a"), shop.of_kind.live(kind="b")
    assert (a.runs, b.runs) == (1, 1)
    shop["items"].insert({"kind": "b"})
    shop["other"].insert({})
    assert len(a.value) == 1
    assert len(b.value) == 2
    assert (a.runs, b.runs) == (1, 2)


def test_a_query_beyond_its_limit_is_not_touched(memory):
    @memory.query
    def oldest(ctx):
        return ctx.db.query("a").take(2)

    memory["a"].insert([{"n": 0}, {"n": 1}])
    handle = oldest.live()
    memory["a"].insert({"n": 2})
    assert len(handle.value) == 2
    assert handle.runs == 1
    memory["a"].delete(handle.value[0]["_id"])
    assert [row["n"] for row in handle.value] == [1, 2]


def test_equal_handles_share_one_run(shop):
    shop["items"].insert({"kind": "a"})
    handles = [shop.of_kind.live(kind="a") for _ in range(10)]
    handles.append(shop.of_kind.live("a"))
    assert [handle.runs for handle in handles] == [1] * 11
    shop["items"].insert({"kind": "a"})
    assert [len(handle.value) for handle in handles] == [2] * 11
    assert [handle.runs for handle in handles] == [2] * 11
    assert shop.statistics().live["live_queries"] == 1


def test_one_commit_runs_a_touched_query_once(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle = count.live()
    memory["a"].insert([{"n": n} for n in range(20)])
    assert handle.value == 20
    assert handle.runs == 2


def test_what_did_not_change_is_not_told(memory):
    @memory.query
    def any_large(ctx):
        return any(row.n > 100 for row in ctx.db.query("a"))

    memory["a"].insert({"n": 1})
    handle, heard = any_large.live(), []
    handle.observe(lambda h: heard.append(h.value))
    memory["a"].insert({"n": 2})
    assert handle.value is False
    memory["a"].insert({"n": 200})
    until(lambda: heard)
    assert heard == [True]
    assert handle.runs == 3


def test_a_change_that_python_calls_equal_is_told(memory):
    row = memory["a"].insert({"x": True})

    @memory.query
    def x(ctx):
        return ctx.db.get(row)["x"]

    handle, heard, named = x.live(), [], []
    handle.observe(lambda h: heard.append(h.value))
    handle.observe(lambda change: named.append(change["new"]), names="value")
    memory["a"].patch(row, {"x": 1})
    until(lambda: heard)
    assert type(heard[0]) is int
    assert [type(value) for value in named] == [int]


# -- redefinition ----------------------------------------------------------------------------------


def test_a_redefined_function_is_followed(shop):
    shop["items"].insert([{"kind": "a", "price": n} for n in range(3)])
    handle, heard = shop.of_kind.live(kind="a"), []
    handle.observe(lambda h: heard.append(len(h.value)))

    @shop.query
    def of_kind(ctx, kind: str):
        return ctx.db.query("items").with_index("by_kind", kind=kind).take(1)

    assert prices(handle) == [0]
    until(lambda: heard == [1])


def test_arguments_no_longer_taken_are_named_and_come_back(shop):
    shop["items"].insert({"kind": "a"})
    handle = shop.of_kind.live(kind="a")

    @shop.query
    def of_kind(ctx, sort: str):
        return sort

    assert isinstance(handle.error, ArgumentValidationError)
    assert "kind" in str(handle.error)
    assert prices(handle) == [0]

    @shop.query
    def of_kind(ctx, kind: str):  # noqa: F811
        return kind

    assert (handle.value, handle.error) == ("a", None)


def test_a_query_redefined_as_a_mutation_is_an_error_state(memory):
    @memory.query
    def f(ctx):
        return 1

    handle = f.live()

    @memory.mutation
    def f(ctx):
        ctx.db.insert("a", {})

    assert isinstance(handle.error, FunctionTypeError)
    assert "a" not in memory


def test_a_redefined_table_is_followed(memory):
    @memory.table("a", indexes={"by_n": ["n"]})
    class A:
        n: int

    memory["a"].insert([{"n": 2}, {"n": 1}])

    @memory.query
    def ordered(ctx, index: str):
        return [row.n for row in ctx.db.query("a").with_index(index)]

    handle, later = ordered.live(index="by_n"), ordered.live(index="by_other")
    assert handle.value == [1, 2]
    assert later.error.code == "IndexNotFoundError"

    @memory.table("a", indexes={"by_other": ["n"]})
    class A:  # noqa: F811
        n: int

    assert handle.error.code == "IndexNotFoundError"
    assert later.value == [1, 2]


def test_a_table_redefined_with_another_field_keeps_its_queries(memory):
    @memory.table("a")
    class A:
        n: int

    @memory.query
    def rows(ctx) -> list[A]:
        return ctx.db.query(A).collect()

    memory["a"].insert({"n": 1})
    handle = rows.live()

    @memory.table("a")
    class A:  # noqa: F811
        n: int
        note: str | Missing = UNSET

    memory["a"].insert({"n": 2, "note": "x"})
    assert handle.error is None
    assert [row.get("note") for row in handle.value] == [None, "x"]
    assert rows() == handle.value


def test_a_dropped_table_is_empty(memory):
    memory["a"].insert({"n": 1})

    @memory.query
    def rows(ctx):
        return ctx.db.query("a").collect()

    handle = rows.live()
    memory["a"].drop()
    assert handle.value == []
    memory["a"].insert({"n": 2})
    assert [row["n"] for row in handle.value] == [2]


def test_refresh_runs_again_without_a_change(memory):
    outside = [1]

    @memory.query
    def reads_outside(ctx):
        return outside[0]

    handle = reads_outside.live()
    outside[0] = 2
    assert handle.value == 1
    handle.refresh()
    assert handle.value == 2
