"""What the children of the fault tests do; each takes (workspace path, say, ...)."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from types import FrameType, FunctionType, ModuleType
from typing import Any

import livedb
from livedb.clock import SystemClock
from livedb.limits import Limits
from livedb.lowlevel import database_of
from livedb.workspaces import open_workspace

Say = Callable[[str], None]

LIMITS = Limits(fold_idle_s=0.05, documents_read_max=1_000_000, bytes_read_max=1 << 30)
"""Folds come soon, so that kills hit them."""


def warm_up() -> None:
    """Import what the children need, without starting a thread or opening a file."""
    import duckdb  # noqa: F401
    import pandas  # noqa: F401, ICN001
    import pyarrow.parquet  # noqa: F401

    import livedb.client.local
    import livedb.interchange.sources
    import livedb.notebook.handles
    import livedb.repairing
    import livedb.store.check_rows
    import livedb.store.loads  # noqa: F401


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


LOAD_STEPS = ("writing", "staged", "in-turn", "appended", "folding-a-load", "folded-a-load")
"""Where `die_at` can kill a bulk load: in its file, after it, between it and its commit, between
log and answer, within and after the DuckDB transaction of its fold."""

FILL_STEPS = ("judged", "appended", "folding-a-fill", "folding", "folded-a-fill")
"""Where `die_at` can kill a change that fills defaults: between the look and its commit, between
log and answer, twice within and once after the DuckDB transaction of its fold."""

STEPS = (*LOAD_STEPS, "folding", "folded")


def die_at(db: livedb.Database, step: str, *, nth: int = 1) -> None:
    """Kill this process when it comes to `step` for the nth time."""
    from livedb.store import tables
    from livedb.store.staged_file import StagedFile

    workspace = db.backend.workspace
    owner, name = {
        "writing": (StagedFile, "_write"),
        "staged": (StagedFile, "publish"),
        "in-turn": (workspace.bulk_loads, "_request"),
        "appended": (workspace.log, "append"),
        "judged": (workspace.schema_changes, "_fills"),
        "folding-a-fill": (tables, "fill_fields"),
        "folded-a-fill": (workspace.tables, "fold_fill"),
        "folding": (workspace.tables, "_fold_table"),
        "folding-a-load": (tables, "insert_file"),
        "folded-a-load": (workspace.tables, "fold_loads"),
        "folded": (workspace.tables, "fold"),
    }[step]
    original = getattr(owner, name)
    left = nth

    def die_after(*args: object, **named: object) -> object:
        nonlocal left
        left -= 1
        if left == 0 and step == "in-turn":
            kill_self()
        result = None if original is None else original(*args, **named)
        if left == 0:
            kill_self()
        return result

    setattr(owner, name, die_after)


class Steps:
    """The mutation of the storm: one step of one writer changes three tables at once."""

    def __init__(self, db: livedb.Database) -> None:
        self.db = db

        @db.mutation(name="step")
        def step(ctx, writer: str, n: int, text: str) -> None:
            ctx.db.insert("left", {"writer": writer, "n": n, "text": text})
            ctx.db.insert("right", {"writer": writer, "n": n, "text": text})
            found = ctx.db.query("counters").with_index("by_writer", writer=writer).first()
            if found is None:
                ctx.db.insert("counters", {"writer": writer, "n": n})
            else:
                assert found["n"] == n - 1, (writer, found["n"], n)
                ctx.db.patch(found["_id"], {"n": n})
            if n % 7 == 0:  # delete an older pair, so that folds and history see deletes
                for table in ("left", "right"):
                    old = ctx.db.query(table).with_index("by_writer", writer=writer, n=n - 3)
                    ctx.db.delete(old.first()["_id"])

        self.step = step

    def counters(self) -> dict[str, int]:
        rows = self.db.sql("select writer, n from counters").to_arrow().to_pylist()
        return {row["writer"]: row["n"] for row in rows}


def define_tables(db: livedb.Database) -> None:
    v = livedb.v
    fields = {"writer": v.string(), "n": v.integer()}
    sides = livedb.define_table({**fields, "text": v.string()}).index("by_writer", ["writer", "n"])
    counters = livedb.define_table(fields).index("by_writer", ["writer"])
    db.push(livedb.define_schema({"left": sides, "right": sides, "counters": counters}))


def storm(path: str, say: Say, seed: int, step: str | None = None) -> None:
    """Commit from several threads, with bulk loads, schema changes and folds, until killed.

    With `step` it kills itself there, some time. Says `step <writer> <n>`, `load <n>`, `shape <n>`
    once each is acknowledged.
    """
    rng = random.Random(seed)
    db = livedb.open(path, limits=LIMITS)
    define_tables(db)
    steps = Steps(db)
    begun = steps.counters()
    loads = _highest(db, "bulk", "batch")
    shapes = _shape_of(db)
    if step is not None:
        die_at(db, step, nth=rng.randrange(1, 10))
    say("READY")

    def write(writer: str, rng: random.Random) -> None:
        n = begun.get(writer, 0)
        while True:
            n += 1
            steps.step(writer, n, "x" * rng.choice((3, 50, 3000)))
            say(f"step {writer} {n}")

    def load() -> None:
        batch = loads
        while True:
            batch += 1
            db.load("bulk", [{"batch": batch, "row": row} for row in range(40)])
            say(f"load {batch}")

    def reshape() -> None:
        n = shapes
        while True:
            n += 1
            fields = {f"f{i}": livedb.v.optional(livedb.v.integer()) for i in range(n % 5 + 1)}
            fields["n"] = livedb.v.literal(n)
            shape = livedb.define_table(livedb.v.object(fields))
            db.push(livedb.define_schema({"shape": shape}))
            say(f"shape {n}")

    def read() -> None:
        while True:
            db.sql('select count(*) from "left"').to_arrow()

    seeds = [(f"w{i}", random.Random(rng.random())) for i in range(4)]
    jobs = [lambda name=name, own=own: write(name, own) for name, own in seeds]
    jobs += [load, reshape, read]
    threads = [threading.Thread(target=_guarded(job, say)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _guarded(job: Callable[[], None], say: Say) -> Callable[[], None]:
    def run() -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  # told to the test, which fails
            say(f"ERROR {type(error).__name__}: {error}")

    return run


def _highest(db: livedb.Database, table: str, field: str) -> int:
    if table not in db.tables or not db[table].count():
        return 0
    rows = db.sql(f"select coalesce(max({field}), 0) as n from {table}").to_arrow()
    return rows.column(0)[0].as_py()


def _shape_of(db: livedb.Database) -> int:
    table = db.backend.catalog().get("shape")
    if table is None:
        return 0
    return dict(table.definition.document.items)["n"].value


class Interrupter:
    """Raises KeyboardInterrupt in the main thread at a random moment of a call, as Ctrl-C does."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._is_armed = False
        self.struck = 0
        signal.signal(signal.SIGALRM, self._strike)

    def _strike(self, *_: object) -> None:
        if self._is_armed:
            self._is_armed = False
            self.struck += 1
            raise KeyboardInterrupt

    def call(self, function: Callable[[], object], *, within_s: float) -> tuple[str, str]:
        """("done" | "interrupted", text): how the call ended."""
        try:
            self._is_armed = True
            signal.setitimer(signal.ITIMER_REAL, self._rng.uniform(1e-5, within_s))
            function()
            self._is_armed = False
        except KeyboardInterrupt as error:
            self._is_armed = False
            return "interrupted", str(error)
        return "done", ""


def interrupted(path: str, say: Say, seed: int, strikes: int) -> None:
    """Interrupt mutations on the main thread, beside other threads' commits; then look closely."""
    rng = random.Random(seed)
    limits = Limits(fold_idle_s=0.05)
    db = livedb.open(path or None, limits=limits)
    write = _define_triple(db)
    stop = threading.Event()
    others = [threading.Thread(target=_write_on, args=(write, -i, stop)) for i in (1, 2)]
    for thread in others:
        thread.start()
    interrupter = Interrupter(rng)
    outcomes: dict[int, tuple[str, str]] = {}
    n = 0
    while interrupter.struck < strikes:
        n += 1
        within_s = rng.choice((0.0003, 0.001, 0.003, 0.01))
        outcomes[n] = interrupter.call(lambda n=n: write(0, n), within_s=within_s)
    stop.set()
    for thread in others:
        thread.join(20)
        assert not thread.is_alive(), "another thread hangs"
    _look_closely(db)
    kept = _kept_triples(db)
    for n, (how, text) in outcomes.items():
        if how == "done" or text.startswith("committed"):
            assert (0, n) in kept, f"{n}: {how} {text!r}, but it is not there"
    plain = [n for n, (how, text) in outcomes.items() if how == "interrupted" and not text]
    db.close()
    say(
        f"struck {interrupter.struck} calls {n} plain-but-kept {sum((0, n) in kept for n in plain)}"
    )


def interrupted_everything(path: str, say: Say, seed: int, strikes: int) -> None:
    """Interrupt reads, SQL, schema changes, loads and live handles on the main thread."""
    rng = random.Random(seed)
    db = livedb.open(path or None, limits=Limits(fold_idle_s=0.05))
    write = _define_triple(db)

    @db.query
    def count(ctx) -> int:
        return len(ctx.db.query("left").order("desc").take(50))

    serial = iter(range(1, 10**9))

    def reshape() -> None:
        fields = {f"f{next(serial) % 5}": livedb.v.optional(livedb.v.integer())}
        db.push(livedb.define_schema({"shape": livedb.define_table(fields)}))

    def follow() -> None:
        handle = count.live()
        write(0, next(serial))
        assert handle.value is not None
        handle.close()

    notes = livedb.define_table().search_index("by_text", "text")
    notes = notes.vector_index("by_at", "at", dimensions=2)
    db.push(livedb.define_schema({"notes": notes}))

    def note() -> None:
        word = f"w{next(serial) % 9}"
        db["notes"].insert({"text": f"{word} all", "at": [1, next(serial)]})
        db["notes"].with_search_index("by_text", word).take(3)
        db["notes"].with_vector_index("by_at", [0, 1]).collect()

    actions = [
        lambda: write(0, next(serial)),
        count,
        note,
        lambda: db.sql('select count(*) from "left"').to_arrow(),
        reshape,
        lambda: db.load("bulk", [{"row": row} for row in range(5)]),
        follow,
        db["left"].first,
    ]
    stop = threading.Event()
    other = threading.Thread(target=_write_on, args=(write, -1, stop))
    other.start()
    interrupter = Interrupter(rng)
    while interrupter.struck < strikes:
        interrupter.call(rng.choice(actions), within_s=rng.choice((0.0005, 0.003, 0.02)))
    stop.set()
    other.join(20)
    assert not other.is_alive(), "the other thread hangs"
    for action in actions:  # all of it still works
        action()
    with_word = db.query(name="found")(
        lambda ctx: [
            len(ctx.db.query("notes").with_search_index("by_text", "all").take(1000)),
            min(len(ctx.db.query("notes").collect()), 1000),
        ]
    )
    found, there = with_word()
    assert found == there, f"a search finds {found} of {there}"
    _look_closely(db)
    _kept_triples(db)
    db.close()
    say(f"struck {interrupter.struck}")


def timed_out(path: str, say: Say, seed: int, strikes: int) -> None:
    """Let time limits strike at random moments of mutations, on the main thread and on others."""
    db = livedb.open(path or None, limits=Limits(function_s_max=0.002, fold_idle_s=0.05))
    write = _define_triple(db)
    lock = threading.Lock()
    struck = 0
    done: set[tuple[int, int]] = set()
    refused: set[tuple[int, int]] = set()

    def run(writer: int) -> None:
        nonlocal struck
        rng = random.Random(seed + writer)
        n = 0
        while struck < strikes:
            n += 1
            try:
                write(writer, n, spin=rng.randrange(80_000))
            except livedb.FunctionTimeoutError:
                with lock:
                    struck += 1
                    refused.add((writer, n))
            except livedb.ConflictError:
                refused.add((writer, n))
            else:
                done.add((writer, n))

    others = [threading.Thread(target=run, args=(writer,)) for writer in (1, 2)]
    for thread in others:
        thread.start()
    run(0)
    for thread in others:
        thread.join(20)
        assert not thread.is_alive(), "another thread hangs"
    _look_closely(db)
    kept = _kept_triples(db)
    assert kept == done, (kept - done, done - kept)
    assert not kept & refused
    db.close()
    say(f"struck {struck} done {len(done)}")


def _define_triple(db: livedb.Database):
    """A mutation that writes three documents and counts; all of it or nothing may be kept."""
    names = ("left", "middle", "right")
    for name in (*names, "totals"):
        _in_time(lambda name=name: db[name].insert({"writer": 99, "n": 0}))

    @db.mutation
    def write(ctx, writer: int, n: int, spin: int = 0) -> str:
        first = ctx.db.insert("left", {"writer": writer, "n": n})
        for _ in range(spin):
            pass
        ctx.db.insert("middle", {"writer": writer, "n": n})
        total = ctx.db.query("totals").first()
        ctx.db.patch(total["_id"], {"n": total["n"] + 1})
        ctx.run_mutation("tail", writer=writer, n=n)
        return first

    @db.mutation
    def tail(ctx, writer: int, n: int) -> None:
        ctx.db.insert("right", {"writer": writer, "n": n})

    return write


def _write_on(write: Callable[[int, int], object], writer: int, stop: threading.Event) -> None:
    n = 0
    while not stop.is_set():
        n += 1
        try:
            write(writer, n)
        except livedb.TransientError:
            continue


def _kept_triples(db: livedb.Database) -> set[tuple[int, int]]:
    """Which writes are kept; asserts that each is whole."""
    sides = [
        {(each["writer"], each["n"]) for each in db.sql(f'from "{name}"').to_arrow().to_pylist()}
        for name in ("left", "middle", "right")
    ]
    assert sides[0] == sides[1] == sides[2], "half a commit"
    total = db.sql("select n from totals").to_arrow().column(0)[0].as_py()
    kept = {each for each in sides[0] if each[0] != 99}
    assert total == len(kept), (total, len(kept))
    return kept


def _look_closely(db: livedb.Database) -> None:
    """No lock, turn, run or transaction is left behind; the copies agree; all still works."""
    from livedb.functions.calling import is_running
    from tests.faults.checks import check_agreement, workspace_of

    workspace = workspace_of(db)
    assert not is_running(), "the main thread still counts as inside a function"
    _within(10, lambda: _in_time(lambda: db["probe"].insert({"a": 1})))
    _within(10, lambda: db.push(livedb.define_schema({"probes": livedb.define_table({})})))
    check_agreement(db)
    numbers = db.statistics()
    assert numbers.applied == numbers.durable == numbers.published, numbers
    assert workspace.runner.oldest_active() is None, "a run that ended still counts as active"
    # Upkeep takes them for a moment; a lock that was lost is never free again.
    for lock in (
        workspace._turn._lock, workspace.committer._lock, workspace.committer.publish_lock,
    ):  # fmt: skip
        assert lock.acquire(timeout=10), "a lock is left taken"
        lock.release()


def _in_time(action: Callable[[], object]) -> None:
    """Do it; again where the time limit was too short for a busy machine."""
    for _ in range(1000):
        with contextlib.suppress(livedb.FunctionTimeoutError):
            action()
            return
    raise AssertionError("a thousand times too late")


def _within(seconds: float, action: Callable[[], object]) -> None:
    """Run an action on another thread, which must not hang."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "the workspace hangs"
    if errors:
        raise errors[0]


def leave(path: str, say: Say, steps: int) -> None:
    """Leave a workspace as a kill does: half of its steps folded, DuckDB's own log not empty.

    Step n inserts n and marks n - 1 as patched.
    """
    db = livedb.open(path, limits=Limits(fold_idle_s=1e9))

    @db.mutation
    def step(ctx, n: int) -> None:
        last = ctx.db.query("items").order("desc").first()
        if last is not None:
            ctx.db.patch(last["_id"], {"patched": True})
        ctx.db.insert("items", {"n": n, "patched": False})

    for n in range(1, steps + 1):
        step(n)
        if n == steps // 4:
            db.backend.workspace.folder.fold()
            db.backend.workspace.tables._connection.execute("checkpoint")
        if n == steps // 2:
            db.backend.workspace.folder.fold()
    say("LEFT")
    kill_self()


def leave_history(path: str, say: Say) -> None:
    """Change documents before a fold and after it, then crash."""
    db = livedb.open(path, limits=Limits(fold_idle_s=1e9))
    items = db["items"]
    changed, deleted = items.insert({"n": 1}), items.insert({"n": 10})
    items.patch(changed, {"n": 2})
    db.backend.workspace.folder.fold()
    twice = items.insert({"n": 20})
    items.patch(changed, {"n": 3})
    items.patch(changed, {"n": 4})
    items.delete(deleted)
    items.patch(twice, {"n": 21})
    items.delete(twice)
    say(f"changed {changed}")
    say(f"deleted {deleted}")
    say(f"twice {twice}")
    kill_self()


def open_at_once(path: str, say: Say, round_number: int) -> None:
    """Open a workspace in the same moment as others; stay until killed."""
    from pathlib import Path

    go = Path(path).with_name(f"go-{round_number}")
    while not go.exists():
        pass
    try:
        livedb.open(path)
    except livedb.WorkspaceLockedError as error:
        say(f"LOCKED {error.pid}")
    else:
        say("WON")
    threading.Event().wait()


def load_until(path: str, say: Say, step: str) -> None:
    """Load 500 rows and be killed at one of the load's steps."""
    db = livedb.open(path, limits=Limits(fold_idle_s=1e9))
    db["bulk"].insert({"n": -1})
    die_at(db, step)
    db.load("bulk", [{"n": n} for n in range(500)])
    db.backend.workspace.folder.fold()


def replace_until(path: str, say: Say, step: str) -> None:
    """Replace two tables by one load, and be killed at one of its steps."""
    from livedb.changes.bulk_loads import TableLoad
    from livedb.interchange.sources import open_source

    db = livedb.open(path, limits=Limits(fold_idle_s=1e9))
    for name in ("a", "b"):
        db[name].insert([{"n": n} for n in range(3)])
    db.backend.workspace.folder.fold()
    die_at(db, step)
    loads = [
        TableLoad(table=name, source=open_source([{"n": 10}, {"n": 11}]), is_replaced=True)
        for name in ("a", "b")
    ]
    db.backend.workspace.load_tables(loads)
    db.backend.workspace.folder.fold()


def fold_until(path: str, say: Say, step: str) -> None:
    """Be killed before, within or after the DuckDB transaction of a fold."""
    db = livedb.open(path, limits=Limits(fold_idle_s=1e9))
    for n in range(50):
        db["items"].insert({"n": n})
        if n == 20:
            db.backend.workspace.folder.fold()
    db["items"].insert({"n": 50})
    if step == "before":
        kill_self()
    die_at(db, step)
    db.backend.workspace.folder.fold()


class Inner:
    n: int
    level: int = 7


class Deep:
    n: int
    inner: Inner


class Flat:
    n: int
    status: str = "todo"


def fill_until(path: str, say: Say, step: str) -> None:
    """Fill defaults into two tables in one change, in one of them within an object; be killed."""
    from livedb.schema.annotations import table_from_class

    db = livedb.open(path, limits=Limits(fold_idle_s=1e9))
    db["flat"].insert([{"n": n} for n in range(50)])
    db["deep"].insert([{"n": n, "inner": {"n": n}} for n in range(50)])
    db["flat"].patch(db["flat"].first()["_id"], {"status": "done"})
    db.backend.workspace.folder.fold()
    db["flat"].insert({"n": 50})

    die_at(db, step, nth=2 if step == "folding" else 1)  # the first fold is of the 51st document
    tables = [
        table_from_class(each, name=name, indexes=None, unique=None, namespace=globals())
        for each, name in ((Flat, "flat"), (Deep, "deep"))
    ]
    db.backend.apply_tables(tables)
    db.backend.workspace.folder.fold()


def locks_of(*roots: object) -> list[Any]:
    """Every lock that modules of livedb and `roots` lead to."""
    modules = [module for name, module in sys.modules.items() if name.startswith("livedb")]
    stack: list[object] = [*roots, *map(vars, modules)]
    seen: set[int] = set()
    found: list[Any] = []
    while stack:
        thing = stack.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (type(threading.Lock()), type(threading.RLock()))):
            found.append(thing)
        elif not _is_elsewhere(thing):
            stack += gc.get_referents(thing)
    return found


def _is_elsewhere(thing: object) -> bool:
    """Whether what it leads to is no matter of livedb's.

    Python 3.11 has a lock in each `cached_property`, for as long as it is computed; 3.12 has none.
    """
    if isinstance(thing, (ModuleType, FrameType, cached_property)):
        return True
    is_code = isinstance(thing, (type, FunctionType))
    return is_code and not str(thing.__module__).startswith("livedb")


@contextlib.contextmanager
def all_held(locks: Sequence[Any]) -> Iterator[None]:
    """Another thread has the locks, but for those that somebody keeps while it waits."""
    are_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        held = [lock for lock in locks if lock.acquire(timeout=0.2)]
        are_held.set()
        is_over.wait()
        for lock in held:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    are_held.wait()
    pid = os.getpid()
    yield
    if os.getpid() == pid:  # there is no such thread in the child
        is_over.set()
        thread.join()


def fork_from(path: str, say: Say) -> None:
    """Fork with a workspace open: the child gets ForkedError everywhere, the parent goes on.

    Another thread has every lock meanwhile, and in the child has them for ever.
    """
    db = livedb.open(path)
    db["items"].insert({"n": 1})

    @db.query
    def count(ctx) -> int:
        return len(ctx.db.query("items").collect())

    @db.mutation
    def add(ctx, n: int) -> str:
        return ctx.db.insert("items", {"n": n})

    handle = count.live()
    calls = {
        "query": count,
        "mutation": lambda: add(n=2),
        "sql": lambda: db.sql("select 1"),
        "insert": lambda: db["items"].insert({"n": 2}),
        "load": lambda: db.load("items", [{"n": 3}]),
        "handle": handle.refresh,
        "value": lambda: handle.value,
        "table": lambda: db.push(livedb.define_schema({"other": livedb.define_table({})})),
        "drop": lambda: db.drop_table("items"),
        "backup": lambda: db.backup(f"{path}-copy"),
        "live": count.live,
        "open": lambda: livedb.open(path).sql("select 1"),
        "snapshot": lambda: db.snapshot().__enter__(),
    }
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)
    faulthandler.enable()
    with all_held(locks_of(db, handle, count, add)):
        pid = os.fork()
    if pid == 0:
        code = 0
        for name, call in calls.items():
            try:
                call()
            except livedb.ForkedError:
                continue
            except BaseException as error:  # noqa: BLE001  # told to the test
                say(f"CHILD {name}: {type(error).__name__}: {error}")
            else:
                say(f"CHILD {name}: no error")
            code = 1
        handle.close()
        db.close()
        with livedb.open(f"{path}-other") as other, livedb.open() as in_memory:
            other["items"].insert({"n": 1})
            in_memory["items"].insert({"n": 1})
        os._exit(code)
    waits = threading.Timer(60, os.kill, (pid, signal.SIGABRT))  # then it shows where
    waits.start()
    _, status = os.waitpid(pid, 0)
    waits.cancel()
    assert os.waitstatus_to_exitcode(status) == 0, "the child's calls did not all refuse"
    add(n=4)
    assert handle.value == count() == 2
    assert db.sql("select count(*) as c from items").to_arrow().to_pylist() == [{"c": 2}]
    db.close()
    with livedb.open(path) as again:
        assert again["items"].count() == 2
    say("PARENT FINE")


def back_up(path: str, say: Say, count: int) -> None:
    """Back up while others commit, load and change schemas."""
    db = livedb.open(path, limits=LIMITS)
    define_tables(db)
    steps = Steps(db)
    stop = threading.Event()

    def write(writer: str) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            steps.step(writer, n, "x" * 50)

    def load() -> None:
        batch = 0
        while not stop.is_set():
            batch += 1
            db.load("bulk", [{"batch": batch, "row": row} for row in range(40)])

    jobs = [lambda: write("a"), lambda: write("b"), load]
    threads = [threading.Thread(target=_guarded(job, say)) for job in jobs]
    for thread in threads:
        thread.start()
    for i in range(count):
        before = db.number
        number = db.backup(f"{path}-backup-{i}")
        say(f"BACKUP w-backup-{i} {before} {number} {db.number}")
    stop.set()
    for thread in threads:
        thread.join()
    db.close()


def out_of_memory(path: str, say: Say) -> None:
    """A mutation that asks for more than there is: rolled back, the workspace goes on."""
    import resource

    from tests.faults.checks import check_agreement

    db = livedb.open(path)
    db["items"].insert({"n": 0})

    @db.mutation
    def greedy(ctx) -> int:
        ctx.db.insert("items", {"n": 1})
        return len(bytearray(10 << 30))

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, most))
    for _ in range(3):
        try:
            greedy()
        except MemoryError:
            continue
        say("no MemoryError")
    db["items"].insert({"n": 2})
    assert [each["n"] for each in db["items"].collect()] == [0, 2]
    check_agreement(db)
    db.close()
    say("FINE")


def endless_sql(path: str, say: Say, text: str) -> None:
    """SQL beyond any measure fails alone, typed; other threads read and write meanwhile."""
    db = livedb.open(path, limits=Limits(sql_s_max=0.5, sql_memory_bytes_max=256 << 20))
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            written.append(db["items"].insert({"n": 1}))

    other = threading.Thread(target=write)
    other.start()
    try:
        db.sql(text).to_arrow()
    except (livedb.FunctionTimeoutError, livedb.LimitError, livedb.SqlError) as error:
        say(f"{type(error).__name__} {error}")
    else:
        raise AssertionError("it ended by itself")
    stop.set()
    other.join()
    assert db["items"].count() == len(written) > 0
    assert db.sql("select 1 as a").to_arrow().to_pylist() == [{"a": 1}]
    db.close()
    say("FINE")


def damaged_parquet(path: str, say: Say, seed: int, rounds: int) -> None:
    """Load damaged files."""
    from pathlib import Path

    from tests.faults.test_bad_input import damage_parquet

    with livedb.open(path) as db:
        damage_parquet(db, Path(path), seed, rounds=rounds)
    say("FINE")


def define_jobs(db: livedb.Database, say: Say) -> None:
    """A mutation and an action with an effect each, and one that schedules them by turns."""

    @db.mutation
    def effect(ctx, n: int) -> None:
        ctx.db.insert("effects", {"n": n})
        say(f"ran {n}")

    @db.action
    def act(ctx, n: int) -> None:
        say(f"did {n}")

    @db.mutation
    def plan(ctx, first: int, count: int) -> None:
        for n in range(first, first + count):
            ctx.scheduler.run_after(0, "act" if n % 2 else "effect", n=n)

    @db.query
    def jobs(ctx) -> list[dict]:
        return ctx.db.system.query("_scheduled_functions").collect()


def jobs(path: str, say: Say, planned: int) -> None:
    """Run scheduled functions until killed; with `planned`, schedule so many first.

    Says `ran <n>` in a mutation, which may be undone, and `did <n>` as the effect of an action.
    """
    db = livedb.open(path, limits=LIMITS)
    define_jobs(db, say)
    for first in range(0, planned, 500):
        db.function("plan")(first=first, count=min(500, planned - first))
    say("READY")
    db.backend.workspace.scheduler.settle(600)
    say("IDLE")
    threading.Event().wait()


class FastClock(SystemClock):
    """A wall clock that runs faster than the machine's from a moment on, in every process alike."""

    SPEED = 20

    def __init__(self, from_ns: int) -> None:
        self._from_ns = from_ns

    def now_ns(self) -> int:
        return self._from_ns + (super().now_ns() - self._from_ns) * self.SPEED

    def now_ms(self) -> float:
        return self.now_ns() / 1e6

    def wait(self, woken: threading.Event, seconds: float) -> None:
        super().wait(woken, seconds / self.SPEED)


CRON_PERIODS_S = {"m1": 1, "m2": 2, "m3": 3, "a1": 1, "a2": 2, "a3": 3}
"""Crons of a mutation (m) and of an action (a)."""


class CronJournal:
    """The functions of crons, whose runs tell which they are; two of one at a time are an error."""

    def __init__(self, db: livedb.Database, say: Say, life: int, clock: FastClock) -> None:
        self._running: set[str] = set()
        self._say = say
        self.acted: Counter[str] = Counter()

        @db.query
        def slot(ctx, name: str) -> float:
            crons = ctx.db.system.query("_cron_jobs")
            return crons.with_index("by_name", name=name).unique()["nextTime"]

        @db.mutation
        def effect(ctx, name: str) -> None:
            with self._alone(name):
                found = ctx.run_query(slot, name=name)
                time.sleep(random.random() * 0.01)
                run = {"cron": name, "life": life, "slot": found, "ended": clock.now_ms()}
                ctx.db.insert("effects", run)
                say(f"ran {name}")

        @db.action
        def act(ctx, name: str) -> None:
            with self._alone(name):
                found = ctx.run_query(slot, name=name)
                say(f"began {name} {found!r}")
                time.sleep(random.random() * 0.1)  # at times longer than to the next slot
                say(f"ended {name} {clock.now_ms()!r}")
                self.acted[name] += 1

        @db.query
        def books(ctx) -> dict:
            return {
                "effects": ctx.db.query("effects").collect(),
                "logs": ctx.db.system.query("_cron_job_logs").collect(),
            }

        self.books = books

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        if name in self._running:
            self._say(f"ERROR {name} runs twice at a time")
        self._running.add(name)
        try:
            yield
        finally:
            self._running.discard(name)


def crons(path: str, say: Say, from_ns: int, life: int, until: int) -> None:
    """Run crons until killed; the first life makes them.

    With `until`, say `BOOKS <json>` once each has run so often in this life. Says when it opened
    (`OPENED <ms>`), when crons are there (`MADE`), `ran <cron>` in a mutation, which may be undone,
    and `began <cron> <slot>` and `ended <cron> <ms>` in an action.
    """
    clock = FastClock(from_ns)
    db = database_of(open_workspace(path, limits=LIMITS, clock=clock))
    say(f"OPENED {clock.now_ms()!r}")
    journal = CronJournal(db, say, life, clock)
    if life == 0:
        for name, period_s in CRON_PERIODS_S.items():
            function = "effect" if name.startswith("m") else "act"
            db.crons.interval(name, seconds=period_s, fn=function, args={"name": name})
    say("MADE")
    while until:
        books = journal.books()
        runs = journal.acted + Counter(
            row["cron"] for row in books["effects"] if row["life"] == life
        )
        if all(runs[name] >= until for name in CRON_PERIODS_S):
            say(f"BOOKS {json.dumps(books)}")
            until = 0
        time.sleep(0.02)
    threading.Event().wait()
