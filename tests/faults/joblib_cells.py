"""Cells that hand a workspace to joblib, as users do; run as a script, like a notebook's kernel.

    python -m tests.faults.joblib_cells FOLDER BACKEND

Prints one line per cell: what was tried, and the result or the error that reached the user. Told
SIGUSR1, each of its processes shows the stacks of its threads.
"""

from __future__ import annotations

import faulthandler
import gc
import signal
import sys
import threading
import warnings

from joblib import Parallel, delayed

import livedb

faulthandler.register(signal.SIGUSR1)  # children of a fork have it too

folder, backend = sys.argv[1:]
db = livedb.open(folder)
items = db["items"]


@db.mutation
def add(ctx: livedb.MutationContext, n: int) -> str:
    return ctx.db.insert("items", {"n": n})


@db.query
def count(ctx: livedb.QueryContext) -> int:
    return ctx.db.count("items")


add(n=0)
handle = count.live()


def uses_database(n: int) -> int:
    return len(db.sql("from items").to_arrow()) + n


def uses_function(n: int) -> str:
    return add(n=n)


def uses_handle(n: int) -> int:
    return handle.value + n


def uses_table(n: int) -> int:
    return items.count() + n


def opens_again(n: int) -> int:
    return livedb.open(folder).number + n


def lets_go(n: int) -> int:
    """A forked worker that drops the workspace must not touch its threads and files."""
    for name in ("db", "items", "add", "count", "handle", "uses_database"):
        globals().pop(name, None)
    gc.collect()
    return n


def uses_values(values: list[int], n: int) -> int:
    return sum(values) + n


def describe(error: BaseException | None) -> str:
    told = []
    while error is not None:
        told.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return " <- ".join(told).replace("\n", " ")


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def attempt(name: str, *calls: object) -> None:
    try:
        result = Parallel(n_jobs=2, backend=backend)(calls)
    except Exception as error:  # noqa: BLE001  # the test reads what the user would
        tell(f"{name} ERROR {describe(error)}")
    else:
        tell(f"{name} RESULT {result}")


def write_all_the_time(stop: threading.Event) -> None:
    while not stop.is_set():
        add(n=-1)


def main() -> None:
    # Forking beside threads is what Python warns of, and what this is about.
    warnings.simplefilter("ignore", DeprecationWarning)
    stop = threading.Event()
    writer = threading.Thread(target=write_all_the_time, args=(stop,))
    writer.start()
    # joblib ends a pool of forked workers when the first error comes, and has hung there by itself,
    # in one of some thousand runs of tasks that only raise: a worker that is killed while it sends
    # an error of its own keeps the lock that `Pool.terminate` then waits for.
    calls = 1 if backend == "multiprocessing" else 4
    for task in (uses_database, uses_function, uses_handle, uses_table, opens_again):
        attempt(task.__name__, *(delayed(task)(n) for n in range(calls)))
    if backend == "multiprocessing":
        attempt("lets_go", *(delayed(lets_go)(n) for n in range(4)))
    attempt("uses_values", *(delayed(uses_values)([1, 2], n) for n in range(4)))
    stop.set()
    writer.join()
    before = count()
    add(n=1)
    assert handle.value == count() == before + 1
    assert db.sql("select count(*) as c from items").to_arrow().to_pylist() == [{"c": before + 1}]
    db.close()
    tell("parent FINE")


if __name__ == "__main__":
    main()
