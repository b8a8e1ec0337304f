"""Work after a commit is proportional to what it touched (law 5), counted, not timed.

Counted are the lines of Python that run, in all threads, from a mutation until a handle that it
touched shows the change: function, commit, look-up of what is touched, and reruns.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

import livedb

ROOT = Path(__file__).parents[2]
CHILD_S_MAX = 100
TRIES_MAX = 4


class Lines:
    """Counts the lines of Python run by this thread and by those it starts, loops included."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = defaultdict(int)
        """By thread: each has its own, so that none is lost."""

    def _note(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "line":
            self._counts[threading.get_ident()] += 1
        return self._note

    def __enter__(self) -> Self:
        threading.settrace(self._note)
        sys.settrace(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]

    def of(self, action: Callable[[], object]) -> int:
        """The lines run by `action`; the least of some rounds."""
        return min(self._once(action) for _ in range(15))

    def _once(self, action: Callable[[], object]) -> int:
        before = sum(self._counts.values())
        action()
        return sum(self._counts.values()) - before


class Shop:
    """A table with many documents, and many live queries on some of them."""

    def __init__(self, *, documents: int, followed: int) -> None:
        self.db = livedb.open()
        table = livedb.define_table(livedb.v.any()).index("by_group", ["group", "n"])
        self.db.push(livedb.define_schema({"items": table}))
        rows = [{"group": n // 10, "n": n, "text": ""} for n in range(documents)]
        self.ids = self.db["items"].insert(rows)

        @self.db.query
        def one(ctx: livedb.QueryContext, at: str) -> Any:
            return ctx.db.get(at)

        @self.db.query
        def group(ctx: livedb.QueryContext, of: int) -> list[Any]:
            return ctx.db.query("items").with_index("by_group", group=of).collect()

        @self.db.query
        def beyond(ctx: livedb.QueryContext, of: int) -> list[Any]:
            found = ctx.db.query("items").with_index(
                "by_group", lambda q: q.eq("group", of).gt("n", of * 10 + 4)
            )
            return found.take(3)

        @self.db.mutation
        def touch(ctx: livedb.MutationContext, at: str, text: str) -> None:
            ctx.db.patch(at, {"text": text})

        self.touch = touch
        self.handles = [one.live(at=each) for each in self.ids[:followed]]
        self.handles += [group.live(of=n) for n in range(followed // 10)]
        self.handles += [beyond.live(of=n) for n in range(followed // 10)]
        self._texts = iter(range(10**9))

    def change(self) -> None:
        """One document changes, which three live queries have read; the first is looked at."""
        self.touch(at=self.ids[9], text=str(next(self._texts)))
        assert self.handles[9].value["text"]


def work_of(**size: int) -> int:
    with Lines() as lines:  # before the workspace, whose threads are to be counted
        shop = Shop(**size)
        try:
            return lines.of(shop.change)
        finally:
            shop.db.close()


def work_in_child(*, documents: int, followed: int) -> int:
    """`work_of` in a process of its own.

    Python 3.11 was seen to spin for ever at the start of a function while a trace function was set
    (in its evaluation loop, calling nothing), which no time limit within the process can end. So a
    child that does not end is tried again.
    """
    command = [sys.executable, "-m", "tests.oracle.test_work", str(documents), str(followed)]
    for _ in range(TRIES_MAX):
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=CHILD_S_MAX
            )
            return int(done.stdout.split()[-1])
    raise AssertionError(f"no child ended within {CHILD_S_MAX} s")


@pytest.fixture(scope="module")
def small() -> int:
    return work_in_child(documents=100, followed=10)


def test_a_change_costs_no_more_with_thirty_times_the_documents(small: int) -> None:
    assert work_in_child(documents=3_000, followed=10) < 1.1 * small


def test_a_change_costs_no_more_with_forty_times_the_live_queries(small: int) -> None:
    assert work_in_child(documents=1_000, followed=400) < 1.1 * small


if __name__ == "__main__":
    sys.stdout.write(str(work_of(documents=int(sys.argv[1]), followed=int(sys.argv[2]))))
