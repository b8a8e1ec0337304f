"""Pages: what is read, where a page ends, and which cursors are refused."""

from __future__ import annotations

import pytest

from livedb.errors import PaginationError


@pytest.fixture
def table(db):
    @db.table("t", indexes={"by_k": ["k"]})
    class T:
        n: int
        k: int = 0

    db["t"].insert([{"n": n, "k": n % 2} for n in range(10)])
    return db["t"]


def numbers(page):
    return [each["n"] for each in page.page]


def pages(query, **options):
    """All pages until the last."""
    found = [query.paginate(**options)]
    while not found[-1].isDone:
        found.append(query.paginate(**options, cursor=found[-1].continueCursor))
    return found


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_cover_everything_once(table, order):
    read = pages(table.order(order), num_items=3)
    assert [len(page.page) for page in read] == [3, 3, 3, 1]
    together = [n for page in read for n in numbers(page)]
    assert together == sorted(range(10), reverse=order == "desc")
    assert [page.isDone for page in read] == [False, False, False, True]


def test_a_full_last_page_is_followed_by_an_empty_one(table):
    read = pages(table.order("asc"), num_items=5)
    assert [len(page.page) for page in read] == [5, 5, 0]
    assert [page.isDone for page in read] == [False, False, True]


def test_the_wire_form_of_options_is_taken(table):
    page = table.paginate({"numItems": 4.0, "cursor": None})
    assert numbers(page) == [0, 1, 2, 3]
    assert set(page) >= {"page", "isDone", "continueCursor"}


def test_filters_apply_before_the_count(table):
    odd = table.filter(lambda q: q.eq(q.field("k"), 1))
    assert [numbers(page) for page in pages(odd, num_items=2)] == [[1, 3], [5, 7], [9]]


def test_the_end_stays_the_end(db, table):
    query = table.with_index("by_k", k=1)
    last = pages(query, num_items=100)[-1]
    db["t"].insert({"n": 11, "k": 1})
    after = query.paginate(num_items=100, cursor=last.continueCursor)
    assert (after.page, after.isDone) == ([], True)


def test_an_empty_table_is_done_with_a_usable_cursor(db):
    page = db["nowhere"].paginate(num_items=3)
    assert (page.page, page.isDone) == ([], True)
    again = db["nowhere"].paginate(num_items=3, cursor=page.continueCursor)
    assert (again.page, again.isDone) == ([], True)
    db["nowhere"].insert({"n": 1})
    after = db["nowhere"].paginate(num_items=3, cursor=page.continueCursor)
    assert (after.page, after.isDone) == ([], True)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_continues_after_its_last_document_was_deleted(db, table, order):
    query = table.order(order)
    page = query.paginate(num_items=4)
    db["t"].delete(page.page[-1]["_id"])
    following = query.paginate(num_items=100, cursor=page.continueCursor)
    assert numbers(following) == sorted(range(10), reverse=order == "desc")[4:]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_end_cursor_bounds_a_page_instead_of_the_count(db, table, order):
    query = table.with_index("by_k").order(order)
    first = query.paginate(num_items=3)
    second = query.paginate(num_items=3, cursor=first.continueCursor)
    middle = numbers(second)
    # A document that lands in the page's interval makes it grow, and nothing else moves.
    db["t"].delete(second.page[1]["_id"])
    db["t"].insert({"n": 100, "k": 0})
    again = query.paginate(
        num_items=3, cursor=first.continueCursor, end_cursor=second.continueCursor
    )
    assert set(numbers(again)) <= {middle[0], middle[2], 100}
    assert {middle[0], middle[2]} <= set(numbers(again))
    assert again.continueCursor == second.continueCursor
    assert again.isDone is False


def test_an_end_cursor_at_the_end_reads_to_the_end(db, table):
    query = table.order("asc")
    read = pages(query, num_items=4)
    db["t"].insert({"n": 10})
    last = query.paginate(
        num_items=4, cursor=read[-2].continueCursor, end_cursor=read[-1].continueCursor
    )
    assert numbers(last) == [8, 9, 10]
    assert last.isDone is True


# -- limits of a page ------------------------------------------------------------------------------


def test_rows_read_bound_a_page(table):
    query = table.filter(lambda q: q.eq(q.field("n"), 9))
    page = query.paginate({"numItems": 5, "maximumRowsRead": 4})
    assert (page.page, page.isDone, page.pageStatus) == ([], False, "SplitRequired")
    found = pages_with(query, {"numItems": 5, "maximumRowsRead": 4})
    assert [numbers(page) for page in found] == [[], [], [9]]


def test_every_page_makes_progress_whatever_the_byte_limit(table):
    found = pages_with(table.order("asc"), {"numItems": 100, "maximumBytesRead": 1})
    assert [numbers(page) for page in found] == [[n] for n in range(10)] + [[]]
    # A page of one document cannot be split, and a client shows none that must be split first.
    assert [page.get("pageStatus") for page in found] == ["SplitRecommended"] * 10 + [None]
    assert [page.get("splitCursor") for page in found] == [None] * 11


def test_a_page_near_its_limit_recommends_a_split(table):
    page = table.order("asc").paginate({"numItems": 8, "maximumRowsRead": 10})
    assert page.pageStatus == "SplitRecommended"
    small = table.order("asc").paginate({"numItems": 7, "maximumRowsRead": 10})
    assert small.get("pageStatus") is None


def test_a_page_near_its_limit_of_bytes_recommends_a_split(table):
    query = table.order("asc")

    def status(limit):
        page = query.paginate({"numItems": 8, "maximumBytesRead": limit})
        return len(page.page), page.get("pageStatus")

    # The least limit that lets eight documents through: what they take, within one document.
    taken = next(limit for limit in range(0, 100_000, 8) if status(limit)[0] == 8)
    assert status(taken) == (8, "SplitRecommended")
    assert status(2 * taken) == (8, None)


@pytest.mark.parametrize("count, status", [(6144, None), (6145, "SplitRecommended")])
def test_a_page_of_more_than_6144_documents_recommends_a_split(memory, count, status):
    memory["many"].insert([{"n": n} for n in range(count)])
    page = memory["many"].order("asc").paginate(num_items=10_000)
    assert (len(page.page), page.get("pageStatus")) == (count, status)


def pages_with(query, options):
    found = [query.paginate(options)]
    while not found[-1].isDone:
        found.append(query.paginate({**options, "cursor": found[-1].continueCursor}))
    return found


def test_the_split_cursor_is_in_the_middle(table):
    query = table.order("asc")
    page = query.paginate(num_items=6)
    left = query.paginate(num_items=6, end_cursor=page.splitCursor)
    right = query.paginate(num_items=6, cursor=page.splitCursor, end_cursor=page.continueCursor)
    assert numbers(left) + numbers(right) == numbers(page)
    assert len(left.page) > 1
    assert len(right.page) > 1
    assert query.paginate(num_items=2).get("splitCursor") is None


def test_a_page_whose_filter_found_nothing_is_split_by_what_it_scanned(table):
    query = table.filter(lambda q: q.eq(q.field("n"), 9))
    options = {"numItems": 5, "maximumRowsRead": 4}
    page = query.paginate(options)
    assert (page.page, page.pageStatus) == ([], "SplitRequired")
    left = query.paginate({**options, "endCursor": page.splitCursor})
    right = query.paginate(
        {**options, "cursor": page.splitCursor, "endCursor": page.continueCursor}
    )
    assert [left.get("pageStatus"), right.get("pageStatus")] == [None, None]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("count", [2, 600, 700])
def test_a_page_read_by_the_block_is_that_read_document_by_document(db, table, order, count):
    """A limit that is never reached makes each document be looked at."""
    table.insert([{"n": n, "k": 5} for n in range(10, 650)])
    query = table.order(order)
    at_once = query.paginate({"numItems": count})
    one_by_one = query.paginate({"numItems": count, "maximumRowsRead": 100_000})
    assert at_once == one_by_one
    assert len(at_once.page) == min(count, 650)


# -- refused options -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "count, code",
    [
        (0, "NoDocumentsForPagination"),
        (-1, "NoDocumentsForPagination"),
        (32_001, "PageSizeTooLarge"),
        (1.5, "InvalidPaginationLimit"),
        (None, "InvalidPaginationLimit"),
        ("3", "InvalidPaginationLimit"),
        (True, "InvalidPaginationLimit"),
        (float("nan"), "InvalidPaginationLimit"),
        (float("inf"), "InvalidPaginationLimit"),
    ],
)
def test_page_sizes_that_are_refused(memory, count, code):
    with pytest.raises(PaginationError) as caught:
        memory["t"].paginate({"numItems": count, "cursor": None})
    assert caught.value.code == code


def test_a_page_of_32000_documents_may_be_asked_for(table):
    assert len(table.paginate(num_items=32_000).page) == 10


@pytest.mark.parametrize("name", ["maximumRowsRead", "maximumBytesRead"])
@pytest.mark.parametrize("value", ["3", True, 1.5, -1, float("nan")])
def test_read_limits_that_are_refused(memory, name, value):
    with pytest.raises(PaginationError) as caught:
        memory["t"].paginate({"numItems": 1, "cursor": None, name: value})
    assert caught.value.code == "InvalidPaginationLimit"


def test_cursors_of_other_queries_are_refused(db, table):
    cursor = table.with_index("by_k", k=0).paginate(num_items=2).continueCursor
    others = [
        table.order("asc"),
        table.with_index("by_k"),
        table.with_index("by_k", k=1),
        table.with_index("by_k", k=0).order("desc"),
        table.with_index("by_k", k=0).filter(lambda q: q.eq(q.field("n"), 1)),
        table.with_index("by_k", lambda q: q.gt("k", 5).lt("k", 3)),
        db["other"],
        db["nowhere"].with_index("by_k", k=0),
    ]
    db["other"].insert({})
    for other in others:
        with pytest.raises(PaginationError) as caught:
            other.paginate(num_items=2, cursor=cursor)
        assert caught.value.code == "InvalidCursor", other
    # The same query, written anew, takes it.
    assert (
        len(
            table.with_index("by_k", lambda q: q.eq("k", 0))
            .paginate(num_items=9, cursor=cursor)
            .page
        )
        == 3
    )


def test_an_ascending_query_may_say_so(table):
    cursor = table.with_index("by_k").paginate(num_items=2).continueCursor
    assert table.with_index("by_k").order("asc").paginate(num_items=2, cursor=cursor).page


def test_filters_with_other_constants_are_other_queries(table):
    def at(low):
        return table.filter(lambda q: q.gte(q.field("n"), low))

    cursor = at(1).paginate(num_items=2).continueCursor
    with pytest.raises(PaginationError):
        at(2).paginate(num_items=2, cursor=cursor)
    with pytest.raises(PaginationError):
        at(1.0).paginate(num_items=2, cursor=at("1").paginate(num_items=1).continueCursor)


@pytest.mark.parametrize("cursor", ["", "x", "!!!!", "AAAA", "é", 3, b"a", "A" * 12, "A" * 400])
@pytest.mark.parametrize("name", ["cursor", "endCursor"])
def test_text_that_is_no_cursor_is_refused(table, cursor, name):
    with pytest.raises(PaginationError) as caught:
        table.order("asc").paginate({"numItems": 1, "cursor": None, name: cursor})
    assert caught.value.code == "InvalidCursor"


def test_a_page_depends_only_on_what_it_read(memory):
    memory["t"].insert([{"n": n} for n in range(10)])

    @memory.query
    def first_page(ctx):
        return ctx.db.query("t").paginate(num_items=3)["page"]

    handle = first_page.live()
    runs = handle.runs
    memory["t"].insert({"n": 11})
    assert [t["n"] for t in handle.value] == [0, 1, 2]
    assert handle.runs == runs
    memory["t"].delete(handle.value[1]["_id"])
    assert [t["n"] for t in handle.value] == [0, 2, 3]


@pytest.mark.parametrize("wrong", [1, "x", [1], True, 0])
def test_options_that_are_no_dict_are_refused(memory, wrong):
    with pytest.raises(PaginationError, match="num_items="):
        memory["t"].paginate(wrong)
