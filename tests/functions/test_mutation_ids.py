"""Mutation ids: a retried mutation happens once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from livedb.errors import InvalidValueError
from livedb.functions.call import Call

pytestmark = pytest.mark.local("gives mutations ids of its own")


def values(db, table="a", field="n"):
    return [row[field] for row in db[table].with_index("by_creation_time").collect()]


def identified(db, function, mutation_id, **arguments):
    definition = function.definition
    return db.backend.workspace.runner.run_mutation(
        definition, definition.bind((), arguments), Call(mutation_id=mutation_id)
    )


@pytest.fixture
def add(db):
    @db.mutation
    def add(ctx, n: int):
        ctx.db.insert("a", {"n": n})
        return {"n": n, "at": ctx.random.random()}

    return add


def test_a_mutation_id_happens_once(db, add):
    first = identified(db, add, "s:1", n=1)
    assert identified(db, add, "s:1", n=1) == first
    identified(db, add, "s:2", n=1)
    assert values(db) == [1, 1]


def test_a_mutation_id_with_other_arguments_is_refused(db, add):
    identified(db, add, "s:1", n=1)
    with pytest.raises(InvalidValueError) as caught:
        identified(db, add, "s:1", n=2)
    assert caught.value.code == "MutationIdReused"
    assert values(db) == [1]


def test_concurrent_calls_with_one_mutation_id_happen_once(db, add):
    db["a"].insert({"n": 0})
    for number in range(10):
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(identified, db, add, f"s:{number}", n=number) for _ in range(6)]
            results = {call.result()["at"] for call in calls}
        assert len(results) == 1
    assert sorted(values(db)) == [0, *range(10)]


def test_an_identified_mutation_that_writes_nothing_is_remembered(db):
    @db.mutation
    def draw(ctx):
        return ctx.random.random()

    assert identified(db, draw, "s:1") == identified(db, draw, "s:1")


def test_an_identified_mutation_that_failed_may_be_tried_again(db):
    runs = []

    @db.mutation
    def flaky(ctx):
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("once")
        return len(runs)

    with pytest.raises(ValueError, match="once"):
        identified(db, flaky, "s:1")
    assert identified(db, flaky, "s:1") == 2


def test_a_mutation_id_is_remembered_across_reopening(tmp_path):
    import livedb

    def opened():
        db = livedb.open(tmp_path / "w")

        @db.mutation
        def add(ctx, n: int):
            ctx.db.insert("a", {"n": n})
            return ctx.random.random()

        return db, add

    db, add = opened()
    with db:
        first = identified(db, add, "s:1", n=1)
    db, add = opened()
    with db:
        assert identified(db, add, "s:1", n=1) == first
        assert values(db) == [1]
