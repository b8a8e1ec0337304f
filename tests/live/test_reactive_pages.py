"""Pages that a client follows: joined, they are the documents from the start to their last end.

The client here is the algorithm of Convex's `usePaginatedQuery`, which is tested itself in
`tests/service/test_npm_client.py`: what it may meet is what is drawn at random.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import livedb
from livedb.live.sources import FunctionSource
from tests.thorough import examples

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 99)),
        st.tuples(st.just("delete"), st.integers(0, 99)),
        st.tuples(st.just("delete range"), st.integers(0, 99)),
        st.tuples(st.just("move"), st.integers(0, 99)),
        st.tuples(st.just("more"), st.integers(1, 5)),
        st.tuples(st.just("split"), st.integers(0, 9)),
        st.tuples(st.just("reconnect"), st.integers(0, 9)),
    ),
    max_size=40,
)


class Reader:
    """One list on screen: its pages, each followed with options of its own."""

    def __init__(self, db, count, **options):
        self.workspace = db.backend.workspace
        self.options = options
        self.pages = []
        self.pages.append(self.follow({"numItems": count, "cursor": None}))

    def follow(self, options, journal=None):
        options = {**self.options, **options}
        source = FunctionSource(
            self.workspace.runner, "items", {"paginationOpts": options}, keeps_page=True,
            journal=journal,
        )  # fmt: skip
        return options, self.workspace.live.follow(source)

    def results(self):
        self.workspace.live.refresh()
        return [query.state.result.value() for _, query in self.pages]

    def more(self, count):
        last = self.results()[-1]
        if not last["isDone"]:
            self.pages.append(self.follow({"numItems": count, "cursor": last["continueCursor"]}))

    def split(self, at):
        options, query = self.pages[at]
        result = self.results()[at]
        if "splitCursor" not in result:
            return
        left = self.follow({**options, "endCursor": result["splitCursor"]})
        ends = {"cursor": result["splitCursor"], "endCursor": result["continueCursor"]}
        self.pages[at : at + 1] = [left, self.follow({**options, **ends})]
        self.workspace.live.unfollow(query)

    def reconnect(self, at):
        """The connection was lost: the page is followed anew, with the journal it had."""
        options, query = self.pages[at]
        self.results()
        journal = query.source.journal
        self.workspace.live.unfollow(query)
        self.workspace.live.refresh()
        self.pages[at] = self.follow(options, journal)

    def close(self):
        for _, query in self.pages:
            self.workspace.live.unfollow(query)


def checked(db, reader, order, is_shown):
    """The pages together are a prefix of what a fresh read gives, up to the end of the last."""
    pages = reader.results()
    shown = [row["k"] for page in pages for row in page["page"]]
    fresh = [row["k"] for row in db["items"].with_index("by_k").order(order) if is_shown(row)]
    assert shown == fresh[: len(shown)], "a gap, or a document twice"
    assert [page["isDone"] for page in pages[:-1]] == [False] * (len(pages) - 1)
    if pages[-1]["isDone"]:
        assert shown == fresh
    return shown


def play(steps, order, has_filter, count, options):
    with livedb.open() as db:

        @db.table("items", indexes={"by_k": ["k"]})
        class Item:
            k: int

        @db.query
        def items(ctx, paginationOpts):  # noqa: N803  # the wire's name
            query = ctx.db.query("items").with_index("by_k").order(order)
            if has_filter:
                query = query.filter(lambda q: q.neq(q.mod(q.field("k"), 3), 0))
            return query.paginate(paginationOpts)

        def is_shown(row):
            return not has_filter or row["k"] % 3 != 0

        db["items"].insert([{"k": 10 * n} for n in range(10)])
        reader = Reader(db, count, **options)
        for step, value in steps:
            rows = db["items"].with_index("by_k").collect()
            if step == "insert":
                db["items"].insert({"k": value})
            elif step == "delete" and rows:
                db["items"].delete(rows[value % len(rows)]["_id"])
            elif step == "delete range":
                for row in rows[value % 7 : value % 7 + 4]:
                    db["items"].delete(row["_id"])
            elif step == "move" and rows:
                db["items"].patch(rows[value % len(rows)]["_id"], {"k": value})
            elif step == "more":
                reader.more(value)
            elif step in ("split", "reconnect"):
                getattr(reader, step)(value % len(reader.pages))
            checked(db, reader, order, is_shown)
        while not reader.results()[-1]["isDone"]:
            reader.more(3)
            checked(db, reader, order, is_shown)
        reader.close()


@pytest.mark.local("follows pages as a service does")
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("has_filter", [False, True])
@given(steps=STEPS, count=st.integers(1, 5))
@settings(max_examples=examples(15))
def test_pages_neither_gap_nor_overlap_whatever_is_committed(order, has_filter, steps, count):
    play(steps, order, has_filter, count, {})


@pytest.mark.local("follows pages as a service does")
@given(steps=STEPS, rows=st.integers(1, 6))
@settings(max_examples=examples(15))
def test_pages_cut_short_by_what_was_read_neither_gap_nor_overlap(steps, rows):
    play(steps, "asc", True, 4, {"maximumRowsRead": rows})


@pytest.mark.local("follows pages as a service does")
def test_a_page_grows_and_shrinks_with_what_lies_in_it_and_never_by_its_size(memory):
    memory["items"].insert([{"n": n} for n in range(4)])

    @memory.query
    def items(ctx, paginationOpts):  # noqa: N803  # the wire's name
        return ctx.db.query("items").paginate(paginationOpts)

    reader = Reader(memory, 2)
    reader.more(2)

    def sizes():
        return [len(page["page"]) for page in reader.results()]

    assert sizes() == [2, 2]
    ids = [row["_id"] for row in memory["items"].order("asc")]
    memory["items"].delete(ids[0])
    memory["items"].delete(ids[1])
    assert sizes() == [0, 2]
    reader.more(2)  # to the end of the table: it grows by whatever comes
    memory["items"].insert([{"n": n} for n in range(100)])
    assert sizes() == [0, 2, 100]
    reader.close()


@pytest.mark.local("follows pages as a service does")
def test_every_page_of_a_function_keeps_its_own_end(memory):
    """Convex allows one `paginate` in a function; here each has its place in the journal."""
    memory["a"].insert([{"n": n} for n in range(6)])
    memory["b"].insert([{"n": n} for n in range(6)])

    @memory.query
    def items(ctx, paginationOpts):  # noqa: N803  # the wire's name
        both = [ctx.db.query(each).paginate(paginationOpts) for each in ("a", "b")]
        return {"isDone": False, "both": [[row["n"] for row in each["page"]] for each in both]}

    reader = Reader(memory, 2)
    assert reader.results()[0]["both"] == [[0, 1], [0, 1]]
    for table in ("a", "b"):
        memory[table].delete(memory[table].order("asc").first()["_id"])
    assert reader.results()[0]["both"] == [[1], [1]]
    reader.reconnect(0)
    assert reader.results()[0]["both"] == [[1], [1]]
    reader.close()


@pytest.mark.local("follows pages as a service does")
@pytest.mark.parametrize("journal", ["", ",", "x", "é", ",,,,", "A" * 4000, "AAAA,AAAA"])
def test_a_journal_that_is_none_gives_a_fresh_page(memory, journal):
    memory["items"].insert([{"n": n} for n in range(4)])

    @memory.query
    def items(ctx, paginationOpts):  # noqa: N803  # the wire's name
        return ctx.db.query("items").paginate(paginationOpts)

    reader = Reader(memory, 2)
    reader.pages.append(reader.follow({"numItems": 3, "cursor": None}, journal))
    assert [len(page["page"]) for page in reader.results()] == [2, 3]
    reader.close()
