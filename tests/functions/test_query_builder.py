"""`ctx.db.query(table)`: order, verbs, iteration, and what counts as read."""

from __future__ import annotations

import pytest

import livedb
from livedb.errors import FilterError, IndexRangeError, LimitError, PaginationError


@pytest.fixture
def tasks(db):
    @db.table("tasks", indexes={"by_rank": ["rank"]})
    class Task:
        rank: int
        name: str

    db["tasks"].insert([{"rank": n % 3, "name": f"t{n}"} for n in range(9)])
    return db


def names(found):
    return [each["name"] for each in found]


def in_query(db, body):
    return db.query(name="anonymous")(body)()


def test_the_default_order_is_creation_time(tasks):
    assert names(tasks["tasks"].order("asc").collect()) == [f"t{n}" for n in range(9)]
    assert names(tasks["tasks"].collect()) == [f"t{n}" for n in range(9)]
    assert names(tasks["tasks"].order("desc").collect()) == [f"t{n}" for n in range(8, -1, -1)]


def test_an_index_orders_with_creation_time_as_tie_break(tasks):
    by_rank = tasks["tasks"].with_index("by_rank")
    assert names(by_rank.collect()) == ["t0", "t3", "t6", "t1", "t4", "t7", "t2", "t5", "t8"]
    assert names(by_rank.order("desc").collect()) == names(by_rank.collect())[::-1]


def test_take_first_and_unique(tasks):
    by_rank = tasks["tasks"].with_index("by_rank", rank=1)
    assert names(by_rank.take(2)) == ["t1", "t4"]
    assert by_rank.take(0) == []
    assert names(by_rank.take(100)) == ["t1", "t4", "t7"]
    assert by_rank.first()["name"] == "t1"
    assert by_rank.order("desc").first()["name"] == "t7"
    assert tasks["tasks"].with_index("by_rank", rank=9).first() is None
    assert tasks["tasks"].with_index("by_rank", rank=9).unique() is None
    one = tasks["tasks"].filter(lambda q: q.eq(q.field("name"), "t4"))
    assert one.unique()["rank"] == 1


def test_unique_names_what_it_found(memory):
    first, second, _ = memory["a"].insert([{}, {}, {}])
    with pytest.raises(livedb.NotUniqueError) as caught:
        memory["a"].unique()
    assert not isinstance(caught.value, livedb.LimitError)
    assert str(caught.value) == (
        f"unique() query returned more than one result from table a: ['{first}', '{second}']"
    )


def test_a_number_of_the_wire_is_a_count_of_documents(memory):
    """A page's `limit: v.number()` is a float in Python."""
    memory["a"].insert([{"n": n} for n in range(3)])

    @memory.query(args={"limit": livedb.v.number()})
    def first(ctx, limit):
        return [row.n for row in ctx.db.query("a").take(limit)]

    assert first(limit=2.0) == [0, 1]


@pytest.mark.parametrize("count", [-1, 1.5, float("nan"), float("inf"), "1", None, True])
def test_take_needs_a_whole_number(memory, count):
    with pytest.raises(PaginationError, match="whole number of at least 0"):
        memory["a"].take(count)


def test_a_query_can_be_kept_and_read_again(tasks):
    def twice(ctx):
        query = ctx.db.query("tasks").with_index("by_rank")
        descending = query.order("desc")
        return names(query), names(query.collect()), names(descending.take(1)), names(query.take(1))

    iterated, collected, last, first = in_query(tasks, twice)
    assert iterated == collected
    assert (last, first) == (["t8"], ["t0"])


def test_iteration_stops_where_it_is_left(tasks):
    def body(ctx):
        seen = []
        for task in ctx.db.query("tasks").with_index("by_rank", rank=0):
            seen.append(task.name)
            if len(seen) == 2:
                break
        return seen

    assert in_query(tasks, body) == ["t0", "t3"]


def test_two_iterations_may_interleave(tasks):
    def body(ctx):
        query = ctx.db.query("tasks")
        return [(a.name, b.name) for a, b in zip(query, query.order("desc"), strict=True)]

    assert in_query(tasks, body)[0] == ["t0", "t8"]
    assert in_query(tasks, body)[8] == ["t8", "t0"]


@pytest.mark.parametrize(
    "build, error",
    [
        (lambda q: q.order("up"), 'order is "asc" or "desc"'),
        (lambda q: q.order("asc").order("desc"), "called twice"),
        (lambda q: q.with_index("by_id").with_index("by_id"), "called twice"),
    ],
)
def test_contradictory_descriptions_are_refused(memory, build, error):
    with pytest.raises(IndexRangeError, match=error):
        in_query(memory, lambda ctx: build(ctx.db.query("a")))


def test_a_filter_that_is_none_is_refused_where_it_stands(memory):
    with pytest.raises(FilterError):
        in_query(memory, lambda ctx: ctx.db.query("a").filter(lambda q: None))


def test_a_table_that_does_not_exist_is_empty(db):
    table = db["nowhere"]
    assert table.collect() == []
    assert list(table) == []
    assert table.first() is None
    assert table.unique() is None
    assert table.take(3) == []
    assert table.count() == 0
    assert table.with_index("by_anything", x=1).collect() == []


# -- limits ----------------------------------------------------------------------------------------


def test_too_many_documents(limited):
    db = limited(documents_read_max=10)
    for n in range(12):
        db["a"].insert({"n": n})
    assert len(db["a"].take(10)) == 10
    with pytest.raises(LimitError, match=r"Too many documents read .* \(limit: 10\)") as caught:
        db["a"].collect()
    assert caught.value.code == "TooManyDocumentsRead"
    with pytest.raises(LimitError):
        db["a"].take(11)
    # All documents scanned count, not those that pass.
    with pytest.raises(LimitError):
        db["a"].filter(lambda q: q.or_()).collect()


def test_reads_of_one_run_add_up(limited):
    db = limited(documents_read_max=10)
    made = db["a"].insert([{"n": n} for n in range(6)])

    def body(ctx):
        ctx.db.query("a").collect()
        for each in made[:4]:
            ctx.db.get(each)
        return "fine"

    assert in_query(db, body) == "fine"
    with pytest.raises(LimitError):
        in_query(db, lambda ctx: (body(ctx), ctx.db.get(made[5])))


def test_too_many_bytes(limited):
    db = limited(bytes_read_max=10_000)
    db["a"].insert([{"text": "x" * 3000} for _ in range(4)])
    assert len(db["a"].take(3)) == 3
    with pytest.raises(LimitError, match="Too many bytes read") as caught:
        db["a"].collect()
    assert caught.value.code == "TooManyBytesRead"


def test_too_many_ranges(limited):
    db = limited(index_ranges_max=5)
    made = db["a"].insert({})

    def gets(count):
        return in_query(db, lambda ctx: [ctx.db.get(made) for _ in range(count)])

    def ranges(count):
        return in_query(db, lambda ctx: [ctx.db.query("a").first() for _ in range(count)])

    for reads in (gets, ranges):
        assert len(reads(5)) == 5
        with pytest.raises(LimitError, match=r"Too many reads .* \(limit: 5\).* 'a'") as caught:
            reads(6)
        assert caught.value.code == "TooManyReads"


def test_an_index_with_many_documents_in_many_blocks(memory):
    @memory.table("t", indexes={"by_n": ["n"]})
    class T:
        n: int

    memory["t"].insert([{"n": (n * 7919) % 2000} for n in range(2000)])
    for order in ("asc", "desc"):
        found = [t.n for t in memory["t"].with_index("by_n").order(order)]
        assert found == sorted(found, reverse=order == "desc")
        assert len(found) == 2000
