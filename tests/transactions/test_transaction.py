"""A transaction's view of its own writes, against a plain dict."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import livedb
from livedb import UNSET, define_schema, define_table
from livedb.keys.encoding import encode_key
from tests.thorough import examples

RANKS = st.sampled_from([UNSET, None, 1, 2, 3, "x"])
PICK = st.integers(0, 10)
VERBS = ["insert"] * 4 + ["patch"] * 3 + ["replace", "delete", "delete", "save", "rollback"]
STEPS = st.lists(st.tuples(st.sampled_from(VERBS), RANKS, PICK), min_size=4, max_size=24)


@pytest.fixture(scope="module")
def db():
    with livedb.open() as opened:
        opened.push(define_schema({"t": define_table().index("by_rank", ["rank"])}))
        yield opened


def without_unset(**fields):
    return {name: value for name, value in fields.items() if value is not UNSET}


def play(ctx, model, steps):
    """Do `steps` to the database and to the model alike, comparing after each."""
    saved = []
    for verb, rank, pick in steps:
        known = list(model)
        target = known[pick % len(known)] if known else None
        if verb == "insert":
            made = ctx.db.insert("t", without_unset(rank=rank, n=pick))
            model[made] = without_unset(rank=rank, n=pick)
        elif verb == "save":
            saved.append((ctx.db._snapshot.savepoint(), dict(model)))
        elif verb == "rollback" and saved:
            mark, before = saved.pop()
            ctx.db._snapshot.rollback(mark)
            model.clear()
            model.update(before)
        elif target is not None and verb == "delete":
            ctx.db.delete(target)
            del model[target]
        elif target is not None and verb == "patch":
            ctx.db.patch(target, {"rank": rank, "m": pick})
            kept = {k: v for k, v in model[target].items() if k != "rank"}
            model[target] = {**kept, **without_unset(rank=rank, m=pick)}
        elif target is not None and verb == "replace":
            ctx.db.replace(target, without_unset(rank=rank))
            model[target] = without_unset(rank=rank)
        compare(ctx, model, pick)


def compare(ctx, model, pick):
    query = ctx.db.query("t")
    # Creation times and ids grow with the inserts, and so does the model.
    by_time = [(key, model[key]) for key in sorted(model, key=lambda key: created(ctx, key))]
    by_rank = sorted(by_time, key=lambda item: encode_key(item[1].get("rank", UNSET)))
    ranked = query.with_index("by_rank")
    assert seen(query.collect()) == by_time
    assert seen(query.order("desc")) == by_time[::-1]
    assert seen(ranked) == by_rank
    assert seen(ranked.order("desc").collect()) == by_rank[::-1]
    assert seen(ranked.take(pick)) == by_rank[:pick]
    assert seen(ranked.order("desc").take(pick)) == by_rank[::-1][:pick]
    for rank in (UNSET, 2, "x"):
        within = [item for item in by_rank if item[1].get("rank", UNSET) == rank]
        assert seen(query.with_index("by_rank", rank=rank)) == within
    assert ctx.db.count("t") == len(model)
    assert [row["_id"] for row in query.with_index("by_id")] == sorted(model)


def created(ctx, key):
    return ctx.db.get(key)["_creationTime"]


def seen(rows):
    return [(row["_id"], {k: v for k, v in row.items() if not k.startswith("_")}) for row in rows]


@settings(max_examples=examples(60))
@given(before=STEPS, steps=STEPS, fails=st.booleans())
def test_every_read_shows_base_and_own_writes(db, before, steps, fails):
    model = {}

    @db.mutation
    def clear(ctx):
        for row in ctx.db.query("t").collect():
            ctx.db.delete(row["_id"])

    @db.mutation
    def prepare(ctx):
        play(ctx, model, before)

    @db.mutation
    def work(ctx):
        play(ctx, changed, steps)
        if fails:
            raise ValueError("undone")

    clear()
    prepare()
    changed = dict(model)
    if fails:
        with pytest.raises(ValueError, match="undone"):
            work()
        changed = model
    else:
        work()
    found = dict(seen(db["t"].with_index("by_creation_time").collect()))
    assert found == changed
    assert db["t"].count() == len(changed)


def test_a_write_that_leaves_a_document_as_it_was_is_no_write(memory):
    row = memory["a"].insert({"n": 1})
    handle = memory["a"].order("asc").live()

    @memory.mutation
    def nothing(ctx):
        ctx.db.patch(row, {"n": 2})
        ctx.db.patch(row, {"n": 1})

    nothing()
    memory["a"].patch(row, {})
    assert [r["n"] for r in handle.value] == [1]
    assert handle.runs == 1


def test_a_snapshot_does_not_move(memory):
    memory["a"].insert({"n": 1})

    @memory.query
    def twice(ctx):
        before = [row.n for row in ctx.db.query("a")]
        # Another thread commits meanwhile; a query reads at its number to its end.
        import threading

        thread = threading.Thread(target=lambda: memory["a"].insert({"n": 2}))
        thread.start()
        thread.join()
        return before, [row.n for row in ctx.db.query("a")]

    assert twice() == [[1], [1]]
    assert memory["a"].count() == 2
