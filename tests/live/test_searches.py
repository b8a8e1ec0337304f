"""Live searches follow every commit that changes them, and run for no other (features.md 5)."""

from __future__ import annotations

import threading

import pytest

import livedb
from livedb.errors import ConflictError


@pytest.fixture
def notes(db):
    made = livedb.define_table().search_index("by_text", "body", filters=["who"])
    made = made.vector_index("by_at", "at", dimensions=2, filters=["who"])
    db.push(livedb.define_schema({"notes": made, "others": livedb.define_table()}))
    return db


class Runs:
    """Which live queries run: their names, as they do.

    A query that is found slow, as any is on a busy machine, may run twice for one commit.
    """

    def __init__(self, db):
        self.db = db
        self.names: list[str] = []

    def since(self) -> list[str]:
        found, self.names[:] = sorted(set(self.names)), []
        return found


@pytest.fixture
def runs(notes):
    return Runs(notes)


def follow_words(db, runs, name, text, **equal):
    @db.query(name=name)
    def found(ctx):
        runs.names.append(name)
        return [
            each["body"]
            for each in ctx.db.query("notes").with_search_index("by_text", text, **equal)
        ]

    return found.live()


def follow_near(db, runs, name, vector, limit, **options):
    @db.query(name=name)
    def near(ctx):
        runs.names.append(name)
        found = ctx.db.query("notes").with_vector_index("by_at", vector, limit=limit, **options)
        return [each["body"] for each in found]

    return near.live()


def values(handles):
    """What handles show, each at the newest commit."""
    return [handle.value for handle in handles]


def test_live_searches_follow_inserts_changes_and_deletes(notes):
    table = notes["notes"]
    words = table.with_search_index("by_text", "cat do").live()
    near = table.with_vector_index("by_at", [1, 0], limit=2).live()

    def shown():
        return [[each["body"] for each in handle.value] for handle in (words, near)]

    cat = table.insert({"body": "cat", "at": [1, 0]})
    dog = table.insert({"body": "dog", "at": [0, 1]})
    other = table.insert({"body": "other", "at": [1, 1]})
    assert (sorted(shown()[0]), shown()[1]) == (["cat", "dog"], ["cat", "other"])
    table.patch(other, {"body": "a doll", "at": [-1, 0]})
    table.patch(cat, {"body": "bird"})
    assert (sorted(shown()[0]), shown()[1]) == (["a doll", "dog"], ["bird", "dog"])
    table.delete(dog)
    assert shown() == [["a doll"], ["bird", "a doll"]]


def test_a_live_search_follows_a_change_of_nothing_but_the_order_of_words(notes):
    table = notes["notes"]
    first, _ = table.insert([{"body": "cat x x dog"}, {"body": "cat x dog x"}])
    words = table.with_search_index("by_text", "cat dog").live()
    assert [each["body"] for each in words.value] == ["cat x dog x", "cat x x dog"]
    table.patch(first, {"body": "x dog cat x"})
    assert [each["body"] for each in words.value] == ["x dog cat x", "cat x dog x"]


@pytest.mark.local("counts runs in this process")
def test_a_commit_runs_only_the_searches_that_it_can_change(notes, runs):
    table = notes["notes"]
    table.insert([{"body": f"word{n}", "who": n % 2, "at": [1, n]} for n in range(10)])
    handles = [
        follow_words(notes, runs, "cat", "cat"),
        follow_words(notes, runs, "of one", "cat", who=1),
        follow_words(notes, runs, "beginning", "big ca"),
        follow_near(notes, runs, "near", [1, 0], 2),
        follow_near(notes, runs, "near one", [1, 0], 2, filter=lambda q: q.eq("who", 1)),
    ]
    runs.since()

    def after(change):
        change()
        values(handles)
        return runs.since()

    assert after(lambda: notes["others"].insert({"body": "cat", "at": [1, 0]})) == []
    assert after(lambda: table.insert({"body": "dog", "who": 1, "at": [-1, 0]})) == []
    assert after(lambda: table.insert({"body": "no vector", "who": 1})) == []
    assert after(lambda: table.insert({"body": "catalogue", "at": [0, 1]})) == ["beginning", "cat"]
    assert after(lambda: table.insert({"body": "big dog", "at": [0, 1]})) == ["beginning"]
    cat = table.insert({"body": "cat", "who": 1, "at": [0, 1]})
    assert after(lambda: None) == ["beginning", "cat", "of one"]
    changed = ["beginning", "cat", "of one"]
    assert after(lambda: table.patch(cat, {"seen": True})) == changed  # it is shown
    assert after(lambda: table.patch(cat, {"who": 2})) == changed
    assert after(lambda: table.patch(cat, {"body": "dog"})) == ["beginning", "cat"]
    assert after(lambda: table.patch(cat, {"at": [0, 2]})) == []
    assert after(lambda: table.patch(cat, {"at": [1, 0]})) == ["near"]
    assert after(lambda: table.patch(cat, {"who": 1})) == ["near", "near one"]
    assert after(lambda: table.patch(cat, {"note": "shown"})) == ["near", "near one"]
    assert after(lambda: table.delete(cat)) == ["near", "near one"]


@pytest.mark.local("counts runs in this process")
def test_untouched_searches_do_not_run_whatever_their_number(notes, runs):
    table = notes["notes"]
    handles = [follow_words(notes, runs, f"w{n}", f"word{n:03} x") for n in range(100)]
    handles += [follow_near(notes, runs, f"v{n}", [1, n], 1) for n in range(20)]
    table.insert([{"body": "", "at": [1, n]} for n in range(20)])
    values(handles)
    runs.since()
    for n in range(30):
        table.insert({"body": f"word{n:03}", "at": [-1, -1]})
    values(handles)
    assert runs.since() == sorted(f"w{n}" for n in range(30))


def test_a_live_page_of_a_search_keeps_its_end(notes):
    table = notes["notes"]
    table.insert([{"body": f"one {'x ' * n}"} for n in range(6)])

    @notes.query
    def page(ctx):
        found = ctx.db.query("notes").with_search_index("by_text", "one").paginate(num_items=3)
        return [each["body"] for each in found["page"]]

    handle = page.live()
    first = handle.value
    table.insert({"body": "one"})
    assert handle.value == ["one", *first[:2]]


def test_an_index_declared_anew_reruns_its_searches(notes):
    notes["notes"].insert({"body": "one", "title": "two"})
    handle = notes["notes"].with_search_index("by_text", "two").live()
    assert handle.value == []
    made = livedb.define_table().search_index("by_text", "title")
    notes.push(livedb.define_schema({"notes": made}))
    assert len(handle.value) == 1


@pytest.mark.local("two threads of one workspace")
@pytest.mark.parametrize("kind", ["words", "vector"])
def test_a_mutation_that_searched_is_serializable(notes, kind):
    """Two that each find nothing and then write what the other would have found: one runs again."""
    barrier = threading.Barrier(2)
    tries: list[str] = []

    @notes.mutation
    def claim(ctx, who: str):
        tries.append(who)
        query = ctx.db.query("notes")
        if kind == "words":
            found = query.with_search_index("by_text", "claimed").collect()
        else:
            found = query.with_vector_index("by_at", [1, 0]).collect()
        if len(tries) <= 2:
            barrier.wait(20)
        if not found:
            ctx.db.insert("notes", {"body": "claimed", "at": [1, 0], "who": who})

    threads = [threading.Thread(target=claim, args=(who,)) for who in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notes["notes"].collect()) == 1
    assert len(tries) == 3


@pytest.mark.local("two threads of one workspace")
def test_a_mutation_that_searched_other_words_does_not_conflict(notes):
    barrier = threading.Barrier(2)
    failures: list[BaseException] = []
    tries: list[str] = []

    @notes.mutation
    def write(ctx, word: str):
        tries.append(word)
        ctx.db.query("notes").with_search_index("by_text", word).collect()
        if len(tries) <= 2:
            barrier.wait(20)
        ctx.db.insert("notes", {"body": word})

    def run(word):
        try:
            write(word)
        except ConflictError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(word,)) for word in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(tries), failures) == (["ada", "bob"], [])
