"""Ctrl-C and time limits at any bytecode: nothing half done, nothing held, all usable (law 6)."""

from __future__ import annotations

import subprocess
import sys

import pytest

WORKLOADS = ["interrupted", "interrupted_everything", "timed_out"]


def run(zygote, workload, path, seed, strikes):
    child = zygote.start(workload, path, seed, strikes)
    code = child.wait()
    lines = child.lines()
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("struck"), lines


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_few_hundred_strikes_leave_nothing_behind(zygote, tmp_path, workload):
    run(zygote, workload, tmp_path / "w", seed=1, strikes=80)


@pytest.mark.oracle
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("workload", WORKLOADS)
def test_thousands_of_strikes_leave_nothing_behind(zygote, tmp_path, workload, seed):
    run(zygote, workload, tmp_path / "w", seed=seed + 10, strikes=1_000)


CALLS_AFTER_OPENING = """
import sys
import livedb

db = livedb.open()
imported = []

@db.mutation
def add(ctx, n: int) -> str:
    return ctx.db.insert("items", {"n": n})

@db.query
def count(ctx) -> int:
    return len(ctx.db.query("items").collect())

notes = livedb.define_table().search_index("by_text", "text")
notes = notes.vector_index("by_at", "at", dimensions=2)
db.push(livedb.define_schema({"notes": notes}))

@db.query
def searching(ctx):
    query = ctx.db.query("notes")
    found = query.with_search_index("by_text", "a"), query.with_vector_index("by_at", [1, 1])
    return [[each["text"] for each in one] for one in found]

@db.mutation
def search_anew(ctx):
    ctx.db.insert("anew", {"text": "a"})
    return ctx.run_query(searching)

@db.action
def act(ctx):
    return ctx.vector_search("notes", "by_at", vector=[1, 0])

sys.addaudithook(lambda event, args: event == "import" and imported.append(args[0]))
add(n=1)
handle = count.live()
add(n=2)
assert handle.value == count() == 2
for wrong in ({"n": "x"}, {"m": 1}, {}):
    try:
        add(**wrong)
    except livedb.LivedbError:
        pass
db["items"].patch(db["items"].first()["_id"], {"n": 1.5})
db.sql("select count(*) from items").to_arrow()
db["notes"].with_search_index("by_text", "a").collect()
search = searching.live()
search_anew()
db["notes"].insert({"text": "a b", "at": [1, 2]})
assert search.value == searching() == [["a b"], ["a b"]], search.value
assert len(act()) == 1
print(sorted(each for each in imported if each.startswith("livedb")))
"""


def test_calls_load_no_module_of_livedb():
    """Python loses its import lock for ever when an interrupt hits it; so calls need none."""
    child = subprocess.run(
        [sys.executable, "-c", CALLS_AFTER_OPENING], capture_output=True, text=True, check=False
    )
    assert child.stdout == "[]\n", child.stdout + child.stderr
