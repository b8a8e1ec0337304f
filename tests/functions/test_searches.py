"""Searches as functions write them: what is found, in which order, and every named error.

Spec: features.md 5 "Full text" and "Vector"; semantics.md 6, 11 and 13.
"""

from __future__ import annotations

import numpy as np
import pytest

import livedb
from livedb.errors import IndexRangeError, LimitError, PaginationError, SearchError


@pytest.fixture
def notes(db):
    @db.table(
        "notes",
        indexes={"by_author": ["author"]},
        search_indexes={"by_text": livedb.search_index("body", filters=["author", "meta.kind"])},
        vector_indexes={
            "by_direction": livedb.vector_index(
                "direction", dimensions=2, filters=["author", "meta.kind"]
            )
        },
    )
    class Note:
        body: livedb.v.any() = None
        author: str = "ada"
        meta: dict[str, str] = {}  # noqa: RUF012
        direction: livedb.v.any() = None

    return db


def bodies(found):
    return [each["body"] for each in found]


def insert(db, *texts, **fields):
    return db["notes"].insert([{"body": text, **fields} for text in texts])


def search(db, text, **equal):
    return db["notes"].with_search_index("by_text", text, **equal)


def near(db, *vector, **options):
    return db["notes"].with_vector_index("by_direction", vector, **options)


def in_query(db, body):
    return db.query(name="anonymous")(body)()


def refusal(code, run):
    with pytest.raises((SearchError, IndexRangeError)) as caught:
        run()
    assert caught.value.code == code
    return str(caught.value)


# -- words -----------------------------------------------------------------------------------------


def test_a_document_with_one_of_the_words_is_found_whatever_their_case(notes):
    insert(notes, "A Quick fox", "the lazy DOG", "nothing here")
    assert sorted(bodies(search(notes, "QUICK dog").collect())) == ["A Quick fox", "the lazy DOG"]


def test_the_last_word_may_be_a_beginning_and_the_others_may_not(notes):
    insert(notes, "catalogue", "cat", "dogma", "dog")
    assert bodies(search(notes, "cat").collect()) == ["cat", "catalogue"]
    assert sorted(bodies(search(notes, "dog cat").collect())) == ["cat", "catalogue", "dog"]


def test_an_empty_search_finds_nothing(notes):
    insert(notes, "", "something")
    assert search(notes, "").collect() == []
    assert search(notes, " .,! ").collect() == []


def test_words_after_the_16th_are_ignored(notes):
    insert(notes, "w16", "w3")
    assert bodies(search(notes, " ".join(f"w{n}" for n in range(17))).collect()) == ["w3"]


def test_a_rare_word_weighs_more_and_a_shorter_text_comes_first(notes):
    insert(notes, *["common"] * 20, "common rare")
    assert bodies(search(notes, "rare common").take(1)) == ["common rare"]
    insert(notes, "unique and a long text around it", "unique")
    assert bodies(search(notes, "unique").collect())[0] == "unique"


def test_a_phrase_comes_before_its_words_apart_also_among_own_writes_and_in_pages(notes):
    insert(
        notes, "fox so very quick", "quick fox so very", "quick so very fox", "so fox quick very"
    )
    ranked = bodies(search(notes, "quick fo").collect())
    assert ranked[:2] == ["so fox quick very", "quick fox so very"]
    page = search(notes, "quick fo").paginate(num_items=1)
    assert bodies(page.page) == ranked[:1]
    after = search(notes, "quick fo").paginate(num_items=3, cursor=page.continueCursor)
    assert bodies(after.page) == ranked[1:]

    @notes.mutation
    def work(ctx):
        ctx.db.insert("notes", {"body": "very quick fox so"})
        ctx.db.insert("notes", {"body": "fox very so quick"})
        return bodies(ctx.db.query("notes").with_search_index("by_text", "quick fox").collect())

    inside = work()
    assert inside[:3] == ["very quick fox so", *ranked[:2]]
    assert inside == bodies(search(notes, "quick fox").collect())


def test_ties_are_newest_first(notes):
    ids = insert(notes, "same words", "same words", "same words")
    assert [each["_id"] for each in search(notes, "same").collect()] == ids[::-1]


def test_equalities_narrow_and_a_nested_field_may_be_absent(notes):
    insert(notes, "one", author="bob", meta={"kind": "a"})
    insert(notes, "one two", author="bob")
    insert(notes, "one three")
    assert bodies(search(notes, "one", author="bob").collect()) == ["one", "one two"]
    absent = notes["notes"].with_search_index(
        "by_text",
        lambda q: q.search("body", "one").eq("author", "bob").eq("meta.kind", livedb.UNSET),
    )
    assert bodies(absent.collect()) == ["one two"]
    assert search(notes, "one", author="nobody").collect() == []


def test_a_misspelled_word_finds_nothing(notes):
    insert(notes, "quick")
    assert search(notes, "quikc fox").collect() == []


def test_eight_equalities_are_taken(notes):
    insert(notes, "a", author="ada")
    insert(notes, "a", author="bob")

    def build(q):
        q.search("body", "a")
        for _ in range(8):
            q.eq("author", "ada")
        return q

    found = notes["notes"].with_search_index("by_text", build).collect()
    assert [each["author"] for each in found] == ["ada"]


def test_a_document_whose_field_is_no_text_is_not_in_the_index(notes):
    notes["notes"].insert([{"body": 1}, {"body": None}, {"body": ["one"]}, {"body": "one"}])
    assert bodies(search(notes, "one 1").collect()) == ["one"]


def test_documents_written_before_the_index_are_found_at_once(db):
    db["notes"].insert([{"body": "before", "direction": [1, 0]}])
    made = livedb.define_table().search_index("by_text", "body")
    db.push(livedb.define_schema({"notes": made.vector_index("by_v", "direction", dimensions=2)}))
    assert bodies(db["notes"].with_search_index("by_text", "before").collect()) == ["before"]
    assert bodies(db["notes"].with_vector_index("by_v", [1, 0]).collect()) == ["before"]


def test_an_index_that_changes_or_goes_is_followed(db):
    db["notes"].insert([{"a": "one", "b": "two"}])

    def define(field):
        made = livedb.define_table()
        if field:
            made = made.search_index("by_text", field)
        db.push(livedb.define_schema({"notes": made}))

    define("a")
    assert len(db["notes"].with_search_index("by_text", "one").collect()) == 1
    define("b")
    assert db["notes"].with_search_index("by_text", "one").collect() == []
    assert len(db["notes"].with_search_index("by_text", "two").collect()) == 1
    define(None)
    message = refusal("IndexNotFoundError", db["notes"].with_search_index("by_text", "one").collect)
    assert "Index notes.by_text not found" in message


def test_a_table_that_does_not_exist_has_nothing(db):
    assert db["none"].with_search_index("by_text", "one").collect() == []
    assert db["none"].with_vector_index("by_v", [1.0]).collect() == []


@pytest.mark.parametrize(
    "build,code",
    [
        (lambda q: q.eq("author", "ada"), "MissingSearchFilterError"),
        (lambda q: q.search("body", "a").search("body", "b"), "DuplicateSearchFiltersError"),
        (lambda q: q.search("author", "a"), "IncorrectSearchField"),
        (lambda q: q.search("body", "a").eq("body", "a"), "IncorrectFilterFieldError"),
        (
            lambda q: [q.search("body", "a"), *[q.eq("author", "a") for _ in range(9)]][0],
            "TooManyFilterConditionsInSearchQueryError",
        ),
        (lambda q: q.search("body", 7), "InvalidSearchFilter"),
        (lambda q: None, "InvalidSearchFilter"),
    ],
)
def test_a_search_that_contradicts_the_rules_is_refused(notes, build, code):
    insert(notes, "a")
    refusal(code, lambda: notes["notes"].with_search_index("by_text", build).collect())
    refusal(
        code,
        lambda: in_query(
            notes,
            lambda ctx: ctx.db.query("notes").with_search_index("by_text", build).collect(),
        ),
    )


def test_an_index_of_another_kind_is_told_apart(notes):
    insert(notes, "a")
    table = notes["notes"]
    assert "for searches" in refusal("IndexNotFoundError", table.with_index("by_text").collect)
    for name in ("by_author", "by_direction", "nothing"):
        refusal("IndexNotFoundError", table.with_search_index(name, "a").collect)
        if name != "by_direction":
            refusal("IndexNotFoundError", table.with_vector_index(name, [1, 0]).collect)


def test_a_search_has_an_order_of_its_own(notes):
    refusal("InvalidSearchOrder", lambda: search(notes, "a").order("desc").collect())
    refusal(
        "InvalidSearchOrder",
        lambda: notes["notes"].order("desc").with_search_index("by_text", "a").collect(),
    )
    refusal(
        "InvalidSearchOrder",
        lambda: notes["notes"].with_index("by_author").with_search_index("by_text", "a").collect(),
    )


def test_beyond_1024_documents_a_search_is_refused_and_the_best_can_be_taken(notes):
    insert(notes, *["same"] * 1024)
    assert len(search(notes, "same").collect()) == 1024
    insert(notes, "same")
    message = refusal("SearchQueryScannedTooManyDocumentsError", search(notes, "same").collect)
    assert "1024" in message
    assert len(search(notes, "same").take(1024)) == 1024
    refusal("SearchQueryScannedTooManyDocumentsError", lambda: search(notes, "same").take(1025))


def test_verbs_and_filters_of_a_search(notes):
    insert(notes, "one a", "one b", "one c")
    found = search(notes, "one")
    assert bodies([found.first()]) == ["one c"]
    only = found.filter(lambda q: q.eq(q.field("body"), "one b"))
    assert bodies([only.unique()]) == ["one b"]
    assert bodies(only.collect()) == ["one b"]
    before = notes["notes"].filter(lambda q: q.neq(q.field("body"), "one b"))
    assert bodies(before.with_search_index("by_text", "one").collect()) == ["one c", "one a"]
    with pytest.raises(livedb.NotUniqueError):
        found.unique()
    with pytest.raises(PaginationError, match="whole number"):
        found.take(-1)
    assert search(notes, "nothing").first() is None
    assert [score > 0 for _, score in found.scored()] == [True] * 3
    assert len(found.scored(2)) == 2


def test_a_page_of_a_search_is_a_stretch_of_ranks(notes):
    insert(notes, *[f"one {'x ' * n}" for n in range(10)])
    whole = bodies(search(notes, "one").collect())
    first = search(notes, "one").paginate(num_items=4)
    assert (bodies(first.page), first.isDone) == (whole[:4], False)
    second = search(notes, "one").paginate(num_items=4, cursor=first.continueCursor)
    third = search(notes, "one").paginate(num_items=4, cursor=second.continueCursor)
    assert bodies(second.page) + bodies(third.page) == whole[4:]
    assert third.isDone
    after = search(notes, "one").paginate(num_items=4, cursor=third.continueCursor)
    assert (after.page, after.isDone) == ([], True)
    up_to = search(notes, "one").paginate(num_items=1, end_cursor=second.continueCursor)
    assert bodies(up_to.page) == whole[:8]
    upper = search(notes, "one").paginate(
        num_items=4, cursor=first.splitCursor, end_cursor=first.continueCursor
    )
    assert bodies(upper.page) == whole[2:4]
    with pytest.raises(PaginationError) as caught:
        search(notes, "two").paginate(num_items=4, cursor=first.continueCursor)
    assert caught.value.code == "InvalidCursor"


def test_a_page_of_a_search_ends_where_it_may_read_no_more(notes):
    insert(notes, *[f"one {n}" for n in range(10)])
    found = search(notes, "one").filter(lambda q: q.neq(q.field("body"), "one 9"))
    page = found.paginate({"numItems": 8, "maximumRowsRead": 3})
    assert (bodies(page.page), page.pageStatus) == (["one 8", "one 7"], "SplitRequired")
    rest = found.paginate({"numItems": 20, "cursor": page.continueCursor})
    assert bodies(rest.page) == [f"one {n}" for n in range(6, -1, -1)]
    one_each = found.paginate({"numItems": 8, "maximumBytesRead": 1})
    assert (one_each.page, one_each.isDone) == ([], False)


@pytest.mark.parametrize("text", ["\ud800one", "\x00one\x00", "one " * 50_000, "\u202eone"])
def test_odd_texts_are_searched_for_without_harm(notes, text):
    insert(notes, "one")

    packed = text.encode(errors="surrogatepass")

    def found(ctx):
        query = ctx.db.query("notes").with_search_index(
            "by_text", packed.decode(errors="surrogatepass")
        )
        return len(query.collect()), len(query.paginate(num_items=3)["page"])

    assert list(in_query(notes, found)) == [1, 1]


def test_documents_that_a_search_reads_count_and_the_search_as_one_range(tmp_path):
    with livedb.open(limits=livedb.Limits(documents_read_max=3, index_ranges_max=2)) as db:
        db.push(livedb.define_schema({"notes": livedb.define_table().search_index("t", "body")}))
        insert(db, *["one"] * 4)
        found = db["notes"].with_search_index("t", "one")
        assert len(found.take(3)) == 3
        with pytest.raises(LimitError) as caught:
            found.collect()
        assert caught.value.code == "TooManyDocumentsRead"

        def many(ctx):
            for _ in range(3):
                ctx.db.query("notes").with_search_index("t", "nothing").collect()

        with pytest.raises(LimitError) as caught:
            in_query(db, many)
        assert caught.value.code == "TooManyReads"


# -- vectors ---------------------------------------------------------------------------------------


def test_the_nearest_by_the_cosine_come_first_with_their_scores(notes):
    for body, direction in (("east", [5, 0]), ("north", [0, 0.1]), ("west", [-1, 0])):
        insert(notes, body, direction=direction)
    found = near(notes, 1, 0).scored()
    assert [(each["body"], round(score, 6)) for each, score in found] == [
        ("east", 1.0), ("north", 0.0), ("west", -1.0),
    ]  # fmt: skip
    assert bodies(near(notes, 1, 1, limit=2.0).collect()) == ["east", "north"]
    assert bodies(near(notes, 1, 1, limit=2).take(1)) == ["east"]


def test_ten_are_found_unless_more_are_asked_for_and_ties_are_by_id(notes):
    ids = insert(notes, *["same"] * 12, direction=[1, 0])
    assert [each["_id"] for each in near(notes, 2, 0).collect()] == sorted(ids)[:10]
    assert [each["_id"] for each in near(notes, 2, 0, limit=256).collect()] == sorted(ids)


def test_a_vector_filter_is_one_of_equalities(notes):
    insert(notes, "a", author="ada", direction=[1, 0])
    insert(notes, "b", author="bob", direction=[1, 0.1])
    insert(notes, "c", author="cy", meta={"kind": "k"}, direction=[1, 0.2])
    assert bodies(near(notes, 1, 0, filter=lambda q: q.eq("author", "bob")).collect()) == ["b"]
    either = near(
        notes, 1, 0, filter=lambda q: q.or_(q.eq("author", "bob"), q.eq("meta.kind", "k"))
    )
    assert bodies(either.collect()) == ["b", "c"]
    without = near(notes, 1, 0, filter=lambda q: q.eq("meta.kind", livedb.UNSET))
    assert bodies(without.collect()) == ["a", "b"]
    assert near(notes, 1, 0, filter=lambda q: q.or_()).collect() == []


def test_sixty_four_conditions_of_a_vector_filter_are_taken(notes):
    insert(notes, "a", author="63", direction=[1, 0])
    insert(notes, "b", author="64", direction=[1, 0])
    asked = near(notes, 1, 0, filter=lambda q: q.or_(*(q.eq("author", str(n)) for n in range(64))))
    assert bodies(asked.collect()) == ["a"]


@pytest.mark.parametrize("vector", [(0.1, 0.2), (1e-300, 3e-300), (1 / 3, -1e6)])
def test_a_score_is_never_beyond_1_nor_below_its_opposite(notes, vector):
    insert(notes, "same", direction=list(vector))
    insert(notes, "opposite", direction=[-each for each in vector])
    [(_, most), (_, least)] = near(notes, *vector).scored()
    assert (most, least) == (pytest.approx(1.0), pytest.approx(-1.0))
    assert -1.0 <= least < most <= 1.0


@pytest.mark.parametrize(
    "misfit",
    [
        None, "1,0", [1], [1, 2, 3], [1, None], [float("nan"), 1], [float("inf"), 1], [True, False],
        [livedb.Int64(1), livedb.Int64(0)], {"x": 1}, b"12",
    ],
)  # fmt: skip
def test_a_document_without_a_fitting_vector_is_silently_not_in_the_index(notes, misfit):
    insert(notes, "misfit", direction=misfit)
    insert(notes, "fits", direction=[1, 0])
    assert bodies(near(notes, 1, 0).collect()) == ["fits"]


def test_a_document_with_zeros_is_near_nothing(notes):
    insert(notes, "zeros", direction=[0, -0.0])
    assert [score for _, score in near(notes, 1, 0).scored()] == [0.0]


@pytest.mark.parametrize(
    "vector,options,code",
    [
        ([1, 0, 0], {}, "VectorDimensionsMismatch"),
        ([], {}, "VectorDimensionsMismatch"),
        ([0, 0], {}, "InvalidVector"),
        ([float("nan"), 0], {}, "InvalidVector"),
        ([float("inf"), 0], {}, "InvalidVector"),
        (["1", 0], {}, "InvalidVector"),
        ([True, 0], {}, "InvalidVector"),
        ([10**400, 0], {}, "InvalidVector"),
        ("ab", {}, "InvalidVector"),
        (7, {}, "InvalidVector"),
        ([1, 0], {"limit": 257}, "VectorLimitTooLargeError"),
        ([1, 0], {"limit": 0}, "InvalidVectorLimit"),
        ([1, 0], {"limit": 2.5}, "InvalidVectorLimit"),
        ([1, 0], {"filter": lambda q: q.eq("body", 1)}, "IncorrectFilterFieldError"),
        ([1, 0], {"filter": lambda q: True}, "InvalidSearchFilter"),
        (
            [1, 0],
            {"filter": lambda q: q.or_(*(q.eq("author", n) for n in range(65)))},
            "TooManyFilterConditionsInVectorQueryError",
        ),
    ],
)
def test_a_vector_search_that_contradicts_the_rules_is_refused(notes, vector, options, code):
    insert(notes, "a", direction=[1, 0])
    refusal(
        code,
        lambda: notes["notes"].with_vector_index("by_direction", vector, **options).collect(),
    )
    act = notes.action(name="act")(
        lambda ctx: ctx.vector_search("notes", "by_direction", vector=vector, **options)
    )
    refusal(code, act)


def test_arrays_of_numpy_are_searched_for(notes):
    insert(notes, "a", direction=[1, 0])
    for kind in (np.float32, np.float64, np.int64):
        found = notes["notes"].with_vector_index("by_direction", np.array([1, 0], kind))
        assert bodies(found.collect()) == ["a"]


def test_an_action_finds_ids_and_scores(notes):
    [first, second] = insert(notes, "a", "b", direction=[1, 0])

    @notes.action
    def plain(ctx, limit: int = 10):
        return ctx.vector_search(
            "notes", "by_direction", vector=[1, 0], limit=limit,
            filter=lambda q: q.or_(q.eq("author", "ada"), q.eq("author", None)),
        )  # fmt: skip

    @notes.action
    async def awaited(ctx):
        return await ctx.vector_search("notes", "by_direction", vector=(1.0, 0.0), limit=1)

    nearest = sorted([first, second])
    assert [dict(each) for each in plain()] == [{"_id": each, "_score": 1.0} for each in nearest]
    assert [each["_id"] for each in awaited()] == nearest[:1]
    assert [each["_id"] for each in plain(limit=1)] == nearest[:1]


# -- transactions ----------------------------------------------------------------------------------


def test_a_mutation_finds_what_it_wrote_and_not_what_it_deleted(notes):
    _, changed, gone = insert(notes, "one kept", "one changed", "one gone", direction=[1, 0])

    @notes.mutation
    def work(ctx):
        ctx.db.insert("notes", {"body": "one new", "direction": [1, 0.5]})
        ctx.db.patch(changed, {"body": "two", "direction": [0, 1]})
        ctx.db.delete(gone)
        query = ctx.db.query("notes")
        return (
            sorted(bodies(query.with_search_index("by_text", "one"))),
            bodies(query.with_vector_index("by_direction", [1, 0], limit=2)),
        )

    assert work() == [["one kept", "one new"], ["one kept", "one new"]]
    assert sorted(bodies(search(notes, "one"))) == ["one kept", "one new"]


def test_a_nested_mutation_that_fails_takes_what_it_wrote_out_of_searches(notes):
    @notes.mutation
    def inner(ctx):
        ctx.db.insert("notes", {"body": "one"})
        found = len(ctx.db.query("notes").with_search_index("by_text", "one").collect())
        raise livedb.ApplicationError(found)

    @notes.mutation
    def outer(ctx):
        try:
            ctx.run_mutation(inner)
        except livedb.ApplicationError as error:
            seen = error.data
        return seen, len(ctx.db.query("notes").with_search_index("by_text", "one").collect())

    assert outer() == [1, 0]


def test_a_loop_over_a_search_may_delete_what_it_finds(notes):
    insert(notes, "one", "one", "one")

    @notes.mutation
    def clear(ctx):
        count = 0
        for _ in ctx.db.query("notes").with_search_index("by_text", "one"):
            for each in ctx.db.query("notes").collect():
                ctx.db.delete(each["_id"])
            count += 1
        return count

    assert clear() == 1


@pytest.mark.local("the search of a run that is over")
def test_a_search_kept_beyond_its_function_is_refused(notes):
    insert(notes, "one", "one")
    kept = []

    @notes.query
    def leak(ctx):
        kept.append(ctx.db.query("notes").with_search_index("by_text", "one"))
        kept.append(iter(kept[0]))
        next(kept[1])

    leak()
    with pytest.raises(livedb.FunctionTypeError):
        kept[0].collect()
    with pytest.raises(livedb.FunctionTypeError):
        next(kept[1])


# -- tables that have such indexes -----------------------------------------------------------------


def test_a_class_takes_only_what_the_makers_make(db):
    with pytest.raises(livedb.SchemaDefinitionError, match=r"livedb\.search_index"):

        @db.table("notes", search_indexes={"by_text": ["body"]})
        class Note:
            body: str

    with pytest.raises(livedb.SchemaDefinitionError, match=r"livedb\.vector_index"):

        @db.table("notes", vector_indexes={"by_v": livedb.search_index("body")})
        class Other:
            body: str


def test_an_inferred_schema_has_the_indexes_and_runs_as_a_cell(db):
    made = livedb.define_table().search_index("by_text", "body", filters=["who"])
    made = made.vector_index("by_v", "at", dimensions=2).search_index("by_none", "nothing")
    db.push(livedb.define_schema({"notes": made}))
    db["notes"].insert([{"body": "one", "who": "ada", "at": [1.0, 0.0]}])
    inferred = db.infer_schema("notes")
    assert "by_none on nothing is left out" in inferred.source
    exec(inferred.source, {"db": db, "__name__": "cell"})
    found = db["notes"].with_search_index("by_text", "one", who="ada").collect()
    assert bodies(found) == ["one"]
    assert bodies(db["notes"].with_vector_index("by_v", [1, 0]).collect()) == ["one"]
    assert [index.name for index in inferred.definition.searched_indexes] == ["by_text", "by_v"]


def test_a_load_into_a_searched_table_is_found_and_followed(notes):
    handle = search(notes, "loaded").live()
    assert handle.value == []
    notes["notes"].load([{"body": "loaded", "author": "ada", "meta": {}, "direction": [1, 0]}])
    assert bodies(handle.value) == ["loaded"]
    assert bodies(near(notes, 1, 0).collect()) == ["loaded"]


@pytest.mark.local("looks what is in memory")
def test_opening_a_workspace_builds_no_index_and_the_first_search_does(tmp_path):
    made = livedb.define_table().search_index("by_text", "body")
    with livedb.open(tmp_path / "w") as db:
        db.push(livedb.define_schema({"notes": made}))
        insert(db, "one")
    with livedb.open(tmp_path / "w") as db:
        rows = db.backend.workspace.rows
        assert rows.statistics().tables == ()
        db["notes"].collect()
        before = rows.statistics().size_bytes
        assert bodies(db["notes"].with_search_index("by_text", "one").collect()) == ["one"]
        assert rows.statistics().size_bytes > before


def test_names_of_tables_may_be_classes(db):
    @db.table("notes", vector_indexes={"by_v": livedb.vector_index("at", dimensions=2)})
    class Note:
        at: list[float]

    db["notes"].insert({"at": [1.0, 1.0]})

    @db.action
    def act(ctx):
        return ctx.vector_search(Note, "by_v", vector=[1, 1])

    assert len(act()) == 1


def test_a_search_at_a_past_commit_finds_what_was(notes):
    [kept] = insert(notes, "one", direction=[1, 0])
    past = notes.number
    notes["notes"].patch(kept, {"body": "two", "direction": [0, 1]})
    insert(notes, "one", direction=[1, 1])

    @notes.query
    def found(ctx):
        query = ctx.db.query("notes")
        words = query.with_search_index("by_text", "one").collect()
        return bodies(words), bodies(query.with_vector_index("by_direction", [1, 0], limit=1))

    assert found() == [["one"], ["one"]]
    then = notes.at(past)
    assert [each["_id"] for each in then["notes"].with_search_index("by_text", "one")] == [kept]
    assert then["notes"].with_vector_index("by_direction", [1, 0]).scored()[0].score == 1.0
