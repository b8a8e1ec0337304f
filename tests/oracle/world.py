"""A real workspace and its model, driven by one seed, compared after every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

import livedb
from livedb.errors import ApplicationError, LivedbError
from livedb.ids import table_number_of
from livedb.limits import Limits
from livedb.schema.namespace import v
from livedb.schema.tables import IndexDefinition, TableDefinition
from livedb.text import decode_fields, decode_value
from livedb.values import UNSET
from tests.oracle import generate
from tests.oracle.generate import INDEXES, LOOSE, STRICT, STRICT_TYPES, TABLES, UNIQUE
from tests.oracle.model import Index, Model, ModelError, Spec, Stored, Table, Tables, exact, run

HANDLES_MAX = 10

PAST_SHARE = 0.12
"""Of the checks, those that look at the past as well."""


@dataclass
class Following:
    """A live handle beside what it follows."""

    handle: Any
    title: str
    expected: Callable[[Model], Any]
    """What the handle shows; ModelError when its query must fail."""
    shown: Callable[[Any, Model], Any]
    """The handle's value in the same form."""
    last: Any = None
    """The handle's value when it last had no error; it keeps it while its query fails."""
    has_last: bool = False
    heard: list[int] = field(default_factory=list)


class Tally:
    """What a run did, for its report."""

    def __init__(self) -> None:
        self.steps = 0
        self.checks = 0
        self.kinds: dict[str, int] = {}

    def count(self, kind: str) -> None:
        self.steps += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1


class World:
    """A workspace, its model, its handles. `close()` it.

    Args:
        seed: everything random follows from it (ids and times are livedb's own).
        path: the workspace's folder; None for memory.
        with_sql: whether live SQL is followed, which folds every commit at once. Without it folds
            are larger.
        on_intent: told the model as it will be if the mutation now running commits.
    """

    def __init__(
        self,
        seed: int,
        path: Path | None,
        *,
        with_sql: bool,
        model: Model | None = None,
        on_intent: Callable[[Tables], None] | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.seed = seed
        self.path = path
        self.with_sql = with_sql
        self.model = model or Model()
        self.on_intent = on_intent
        self.tally = tally or Tally()
        self.queries: dict[str, Spec] = {}
        self.followed: list[Following] = []
        self.ghosts: list[str] = []
        """Ids of documents that are no more."""
        self._program: Any = None
        self._tables: list[Tables] = []
        """The states of the mutation in progress, innermost call last."""
        self.open()

    # -- life ----------------------------------------------------------------------------------

    def open(self) -> None:
        limits = Limits(fold_backlog_max=7, fold_idle_s=0.05, cache_entries_max=3)
        self.db = livedb.open(self.path, limits=limits)
        self.db.mutation(name="run_program")(self._run_program)
        for name in self.queries:
            self._define(name)

    def close(self) -> None:
        for each in self.followed:
            each.handle.close()
        self.followed.clear()
        self.db.close()

    def step(self, at: int) -> str:
        """One random step, then every check."""
        rng = Random(f"{self.seed}:{at}")
        kinds = {
            "mutation": 60, "verb": 8, "load": 5, "schema": 7, "redefine": 6, "follow": 10,
            "drop": 1, "frozen": 3, "undo": 5, "reopen": 4 if self.path is not None else 0,
        }  # fmt: skip
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        getattr(self, f"_step_{kind}")(rng)
        self.tally.count(kind)
        self.check(rng)
        return kind

    # -- steps ---------------------------------------------------------------------------------

    def _step_mutation(self, rng: Random) -> None:
        self._program = generate.program(rng)
        self._tables = [_copied(self.model.tables)]
        try:
            self.db.function("run_program")(depth=0)
        except ApplicationError:
            assert self._program[-1] == ("fail",)
            return
        assert self._program[-1] != ("fail",), "a program that fails must not commit"
        self._commit(self._tables[0])

    def _step_verb(self, rng: Random) -> None:
        """The one-step writes of `db[table]`."""
        name = rng.choice(TABLES)
        table = self.db[name]
        tables = _copied(self.model.tables)
        choice = rng.choice(("insert", "patch", "replace", "delete"))
        if choice == "insert":
            documents = [generate.document(rng, name) for _ in range(rng.randrange(1, 4))]
            inserted = _outcome(lambda: table.insert(documents))
            expected = _outcome(lambda: _prepare_all(tables, name, documents))
            if isinstance(expected, str):
                assert inserted == expected, (inserted, expected)
                return
            _check_no_error(inserted)
            for document_id, fields in zip(inserted, expected, strict=True):
                time = table.get(document_id)["_creationTime"]
                tables[name].documents[document_id] = Stored(time, fields)
        else:
            op = {
                "patch": lambda: ("patch", name, rng.random(), generate.changes(rng, name)),
                "replace": lambda: ("replace", name, rng.random(), generate.document(rng, name)),
                "delete": lambda: ("delete", name, rng.random()),
            }[choice]()
            document_id = self._pick(tables, name, op[2] * 0.93)
            if document_id is None:
                return
            write = getattr(table, choice)
            got = _outcome(lambda: write(document_id, *op[3:]))
            expected = _outcome(lambda: self._modify(tables, op, document_id))
            assert got == expected, (op, got, expected)
            if isinstance(expected, str):
                return
        self._commit(tables)

    def _step_load(self, rng: Random) -> None:
        name = rng.choice(TABLES)
        rows = [generate.document(rng, name) for _ in range(rng.randrange(1, 6))]
        self._intend(self.model.tables)  # its ids are made on the way: what is there stays
        tables = _copied(self.model.tables)
        expected = _outcome(lambda: _prepare_all(tables, name, rows))
        got = _outcome(lambda: self.db.load(name, rows))
        if isinstance(expected, str):
            # Of the load's errors only that it is one: it says more than a class would.
            assert isinstance(got, str), (name, rows, expected)
            return
        _check_no_error(got)
        assert got.rows == len(rows)
        known = set(tables[name].documents)
        new = [row for row in self.db[name].collect() if row["_id"] not in known]
        # A table of rows has one order of columns, so that of each row's names is lost.
        got_fields = [exact(_sorted(_fields(row))) for row in new]
        assert got_fields == [exact(_sorted(each)) for each in expected], (new, expected)
        for row in new:
            tables[name].documents[row["_id"]] = Stored(row["_creationTime"], _fields(row))
        self._commit(tables)
        assert got.number == self.model.number

    def _step_schema(self, rng: Random) -> None:
        name = rng.choice(TABLES)
        types = rng.choice(STRICT_TYPES) if name == STRICT else None
        self.define(name, types, rng.choice(INDEXES[name]))

    def define(self, name: str, types: Any, indexes: tuple[Index, ...]) -> None:
        """Define or redefine a table, where the model sees that its documents fit."""
        tables = _copied(self.model.tables)
        before = tables.get(name, Table())
        changed = Table(types, indexes, dict(before.documents))
        tables[name] = changed
        try:
            definition = _definition(name, types, indexes)
        except LivedbError:
            return  # an index on a field that the schema does not have
        fits = self._fits(before, changed)
        got = _outcome(lambda: self.db.backend.apply_tables([definition]))
        if not fits:
            assert got == "SchemaChangeError", got
            return
        _check_no_error(got)
        self._commit(tables)
        assert got == self.model.number

    @staticmethod
    def _fits(before: Table, changed: Table) -> bool:
        added = tuple(
            index for index in changed.indexes if index.is_unique and index not in before.indexes
        )
        probe = Table(changed.types, added)
        for document_id, stored in changed.documents.items():
            try:
                probe.check(document_id, stored.fields)
            except ModelError:
                return False
            probe.documents[document_id] = stored
        return True

    def _step_drop(self, rng: Random) -> None:
        name = rng.choice(TABLES)
        if name not in self.model.tables:
            assert _outcome(self.db[name].drop) == "SchemaDefinitionError"
            return
        self.drop(name)

    def drop(self, name: str) -> None:
        """Drop a table that is there."""
        tables = _copied(self.model.tables)
        self.db[name].drop()
        self.ghosts += list(tables.pop(name).documents)[:3]
        self._commit(tables)

    def _step_redefine(self, rng: Random) -> None:
        if not self.queries:
            return self._step_follow(rng)
        name = rng.choice(list(self.queries))
        at = list(self.queries).index(name)
        self.queries[name] = generate.spec(rng, tuple(self.queries)[:at])
        self._define(name)
        return None

    def _step_follow(self, rng: Random) -> None:
        """Open a handle; close one when there are many."""
        if len(self.followed) >= HANDLES_MAX or (self.followed and rng.random() < 0.2):
            self.followed.pop(rng.randrange(len(self.followed))).handle.close()
        choice = rng.random()
        if self.with_sql and choice < 0.35:
            self._follow_sql(rng)
        elif choice < 0.5:
            self._follow_table(rng)
        else:
            if len(self.queries) < 12 or rng.random() < 0.3:
                name = f"q{len(self.queries)}"
                self.queries[name] = generate.spec(rng, tuple(self.queries))
                self._define(name)
            else:
                name = rng.choice(list(self.queries))  # shared with another handle, perhaps
            handle = self.db.function(name).live()
            self._follow(
                Following(handle, name, lambda model: self._run(name, model), _shown_value)
            )

    def _step_frozen(self, rng: Random) -> None:
        """Handles stay at one commit inside `db.snapshot()`, whatever is committed."""
        with self.db.snapshot() as number:
            assert number == self.model.number
            before = [(each, each.handle.version, _state(each)) for each in self.followed]
            self._step_mutation(rng)
            for each, version, state in before:
                assert each.handle.version == version == number, each.title
                assert _state(each) == state, each.title

    def _step_undo(self, rng: Random) -> None:
        """Undo one of the newest commits, if that may be."""
        number = rng.randint(max(1, self.model.number - 8), max(1, self.model.number))
        if number > self.model.number:
            assert _outcome(lambda: self.db.undo(number)) == "InvalidValueError"
            return
        expected = _outcome(lambda: self.model.undo(number))
        if not isinstance(expected, str):
            self._intend(expected)
        got = _outcome(lambda: self.db.undo(number))
        if isinstance(expected, str):
            assert got == expected, (number, got)
            return
        _check_no_error(got)
        self._commit(expected)

    def _step_reopen(self, rng: Random) -> None:
        self.close()
        self.open()
        assert self.db.number == self.model.number
        for _ in range(rng.randrange(4)):
            self._step_follow(rng)

    # -- mutations -----------------------------------------------------------------------------

    def _run_program(self, ctx: livedb.MutationContext, depth: int) -> None:
        """The mutation: runs operations on the workspace and on the model side by side."""
        operations = self._program
        if depth == 0:
            self._tables = [_copied(self.model.tables)]  # it may run again
        for operation in operations:
            if operation == ("fail",):
                raise ApplicationError("planned")
            self._operate(ctx, operation, depth)
        if depth == 0:
            self._intend(self._tables[0])

    def _operate(self, ctx: livedb.MutationContext, operation: Any, depth: int) -> None:
        tables = self._tables[-1]
        match operation:
            case ("insert", name, fields):
                got = _outcome(lambda: ctx.db.insert(name, fields))
                expected = _outcome(lambda: _prepare(tables, name, fields))
                if isinstance(expected, str):
                    assert got == expected, (operation, got, expected)
                    return
                _check_no_error(got)
                time = ctx.db.get(got)["_creationTime"]
                known = [stored.time for stored in tables[name].documents.values()]
                assert all(time > other for other in known), "creation times of one caller increase"
                tables[name].documents[got] = Stored(time, expected)
            case ("read", spec):
                self._compare_read(ctx, spec, tables)
            case ("nested", inner):
                self._nest(ctx, inner, depth)
            case ("delete_while_reading", name, count):
                for row in ctx.db.query(name).order("desc"):
                    count -= 1
                    if count < 0:
                        break
                    ctx.db.delete(row["_id"])
                    del tables[name].documents[row["_id"]]
                    self.ghosts.append(row["_id"])
            case (verb, name, position, *rest):
                document_id = self._pick(tables, name, position)
                if document_id is None:
                    return
                got = _outcome(lambda: getattr(ctx.db, verb)(document_id, *rest))
                expected = _outcome(lambda: self._modify(tables, operation, document_id))
                assert got == expected, (operation, got, expected)

    def _nest(self, ctx: livedb.MutationContext, inner: Any, depth: int) -> None:
        outer, self._program = self._program, inner
        self._tables.append(_copied(self._tables[-1]))
        try:
            ctx.run_mutation("run_program", depth=depth + 1)
        except ApplicationError:
            self._tables.pop()  # undone
        else:
            done = self._tables.pop()
            self._tables[-1] = done
        finally:
            self._program = outer

    def _pick(self, tables: Tables, name: str, position: float) -> str | None:
        """An id of the table, or of a document that is no more."""
        if position > 0.93 and self.ghosts:
            return self.ghosts[int(position * 1e6) % len(self.ghosts)]
        ids = sorted(tables[name].documents) if name in tables else []
        return ids[int(position * len(ids))] if ids else None

    def _modify(self, tables: Tables, operation: Any, document_id: str) -> None:
        verb, name, _, *rest = operation
        table = tables.get(name)
        if table is None or document_id not in table.documents:
            found = [each for each in tables.values() if document_id in each.documents]
            if not found:
                raise ModelError("NonexistentDocumentError")
            table = found[0]
        old = table.documents[document_id]
        if verb == "delete":
            del table.documents[document_id]
            self.ghosts.append(document_id)
            return
        fields = dict(old.fields) if verb == "patch" else {}
        for key, value in rest[0].items():
            if value is UNSET:
                fields.pop(key, None)
            else:
                fields[key] = value
        kept = table.check(document_id, fields)
        if verb == "patch":  # converts what it changes: the rest stays as it was written
            kept = {key: kept[key] if key in rest[0] else fields[key] for key in kept}
        table.documents[document_id] = Stored(old.time, kept)

    def _compare_read(self, ctx: Any, spec: Spec, tables: Tables) -> None:
        got = _outcome(lambda: _without_cursors(_read(ctx, spec)))
        expected = _outcome(lambda: run(spec, tables, self.queries))
        assert exact(got) == exact(expected), f"{spec}\n got {got}\nwant {expected}"
        self.tally.checks += 1

    def _intend(self, tables: Tables) -> None:
        if self.on_intent is not None:
            self.on_intent(tables)

    def _commit(self, tables: Tables) -> None:
        self.model.commit(tables)

    # -- handles -------------------------------------------------------------------------------

    def _define(self, name: str) -> None:
        spec = self.queries[name]

        def handler(ctx: livedb.QueryContext) -> Any:
            return _read(ctx, spec)

        self.db.query(name=name)(handler)

    def _run(self, name: str, model: Model) -> Any:
        return run(self.queries[name], model.tables, self.queries)

    def _follow(self, following: Following) -> None:
        heard = following.heard
        following.handle.observe(lambda handle: heard.append(handle.version))
        self.followed.append(following)

    def _follow_table(self, rng: Random) -> None:
        """A narrowed `db[table]`, followed without defining a function."""
        name = rng.choice(TABLES)
        order = rng.choice(("asc", "desc"))
        handle = self.db[name].order(order).live()
        expected = partial(_collected, Spec(name, order=order))
        self._follow(Following(handle, f"db[{name}].{order}", expected, _shown_value))

    def _follow_sql(self, rng: Random) -> None:
        name = rng.choice(TABLES)
        if rng.random() < 0.4:
            self.follow_whole_table(name)
            return
        text, answer = rng.choice(SQL)
        self._follow(Following(self.db.live_sql(text), text, answer, _shown_rows))

    def follow_whole_table(self, name: str) -> None:
        """`db[table]` itself, which is followed by SQL."""
        expected, shown = partial(_typed_rows, name), partial(_typed_of_arrow, name)
        self._follow(Following(self.db[name].live(), f"db[{name}]", expected, shown))

    # -- checks --------------------------------------------------------------------------------

    def check(self, rng: Random) -> None:
        """Everything that can be read equals the model."""
        assert self.db.number == self.model.number, (self.db.number, self.model.number)
        for each in self.followed:
            self._check_followed(each)
        for name, spec in list(self.queries.items())[-3:]:
            got = _outcome(lambda name=name: _without_cursors(self.db.function(name)()))
            expected = _outcome(lambda name=name: self._run(name, self.model))
            assert exact(got) == exact(expected), f"{spec}\n got {got}\nwant {expected}"
            self.tally.checks += 1
        if rng.random() < (0.5 if self.with_sql else 0.1):
            self.check_tables(rng)
        if rng.random() < PAST_SHARE:
            self.check_past(rng)

    def _check_followed(self, each: Following) -> None:
        handle = each.handle
        assert handle.version == self.model.number, each.title
        expected = _outcome(lambda: each.expected(self.model))
        if isinstance(expected, str):
            assert type(handle.error).__name__ == expected, (each.title, handle.error, expected)
            # As it was, not as the model would show it now: a table dropped since has no types.
            assert not each.has_last or _value(each) == each.last, self._describe(each)
        else:
            assert handle.error is None, (each.title, handle.error)
            got = each.shown(handle.value, self.model)
            told = f"{self._describe(each)}\n got {got}\nwant {expected}"
            assert exact(got) == exact(expected), told
            each.last, each.has_last = _value(each), True
        heard = list(each.heard)
        assert heard == sorted(heard), f"{each.title} heard {heard}"
        if isinstance(expected, list) and _is_documents(expected):
            ids = [row["_id"] for row in expected]
            assert handle.to_arrow().column("_id").to_pylist() == ids, each.title
        self.tally.checks += 1

    def _describe(self, each: Following) -> str:
        spec = self.queries.get(each.title)
        inner = spec.nested and self.queries.get(spec.nested) if spec is not None else None
        return f"{each.title} {spec} {inner or ''}"

    def check_tables(self, rng: Random) -> None:
        """SQL, frames, the exact texts in DuckDB, and the history."""
        workspace = self.db.backend.workspace
        catalog = self.db.backend.catalog()
        assert sorted(self.db.tables) == sorted(self.model.tables)
        with workspace.folder.snapshot() as snapshot:
            assert snapshot.number == self.model.number
            for name, table in self.model.tables.items():
                number = catalog.get(name).number
                rows = snapshot.load_table(number)
                texts = zip(rows.ids.to_pylist(), rows.creation_times.to_pylist(),
                            rows.texts.to_pylist(), strict=True)  # fmt: skip
                got = {key: (time, exact(decode_fields(text))) for key, time, text in texts}
                want = {k: (d.time, exact(d.fields)) for k, d in table.documents.items()}
                assert got == want, name
                known = [key for table_name, key in self.model.history if table_name == name]
                for key in rng.sample(known, min(len(known), 4)):
                    self._check_history(snapshot, name, key)
        for name in self.model.tables:
            got_rows = _typed_of_arrow(name, self.db[name].to_arrow(), self.model)
            assert exact(got_rows) == exact(_typed_rows(name, self.model)), name
        for text, answer in SQL:
            got = _outcome(lambda text=text: list(self.db.sql(text)))
            expected = _outcome(lambda answer=answer: answer(self.model))
            assert exact(got) == exact(expected), f"{text}\n got {got}\nwant {expected}"
        workspace.rows._check()
        self.tally.checks += 3

    def check_past(self, rng: Random) -> None:
        """A commit of the past by functions, SQL and frames; what changed since; a history."""
        number = rng.randrange(self.model.number + 1)
        then, past = self.model.past(number), self.db.at(number)
        assert sorted(past.tables) == sorted(then.tables), number
        for name, table in then.tables.items():
            rows = past[name].collect()
            assert exact(rows) == exact(table.in_order(None, "asc")), (number, name)
            assert past[name].count() == len(table.documents), (number, name)
            got_rows = _typed_of_arrow(name, past[name].to_arrow(), then)
            assert exact(got_rows) == exact(_typed_rows(name, then)), (number, name)
        assert past.backend.counts() == {n: len(t.documents) for n, t in then.tables.items()}
        for text, answer in SQL:
            got = _outcome(lambda text=text: list(past.sql(text)))
            expected = _outcome(lambda answer=answer: answer(then))
            assert exact(got) == exact(expected), f"{text}\n got {got}\nwant {expected}"
        for name, spec in list(self.queries.items())[-3:]:
            got = _outcome(lambda name=name: _without_cursors(past.function(name)()))
            expected = _outcome(lambda spec=spec: run(spec, then.tables, self.queries))
            assert exact(got) == exact(expected), f"{number} {spec}\n got {got}\nwant {expected}"
        self._check_changes(number)
        if self.model.history:
            self._check_document(*rng.choice(list(self.model.history)))
        self.tally.checks += 1

    def _check_changes(self, since: int) -> None:
        rows = self.db.changes(since).to_arrow().to_pylist()
        got = [
            (row["number"], row["table"], row["_id"], *map(_decoded, (row["before"], row["after"])))
            for row in rows
        ]
        want = [
            (*key, *(None if each is None else exact(each.fields) for each in (old, new)))
            for *key, old, new in self.model.changes(since)
        ]
        assert [row["number"] for row in rows] == sorted(row["number"] for row in rows)
        assert sorted(got, key=repr) == sorted(want, key=repr), since

    def _check_document(self, name: str, key: str) -> None:
        rows = self.db.history(name, key).to_arrow().to_pylist()
        versions = self.model.history[name, key]
        ends = {each.until for each in versions} - {each.since for each in versions} - {None}
        want = sorted(
            [(each.since, exact(each.stored.fields)) for each in versions]
            + [(end, None) for end in ends],
            key=lambda each: each[0],
        )
        assert [(row["number"], _decoded(row["document"])) for row in rows] == want, (name, key)

    def _check_history(self, snapshot: Any, name: str, key: str) -> None:
        got = [
            (each.valid_from, each.valid_to, each.document.creation_time,
             exact(decode_fields(each.document.text)))
            for each in snapshot.history(table_number_of(key), key)
        ]  # fmt: skip
        want = [
            (each.since, each.until, each.stored.time, exact(each.stored.fields))
            for each in self.model.history[name, key]
        ]
        assert got == want, f"history of {name} {key}\n got {got}\nwant {want}"
        self.tally.checks += 1


# -- both sides ------------------------------------------------------------------------------------


def _outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the name of its error's class."""
    try:
        return call()
    except ModelError as error:
        return error.name
    except LivedbError as error:
        return type(error).__name__


def _check_no_error(got: Any) -> None:
    is_error = isinstance(got, str) and got.endswith("Error")
    assert not is_error, f"{got}, where the model sees no fault"


def _copied(tables: Tables) -> Tables:
    return {name: table.copy() for name, table in tables.items()}


def _prepare(tables: Tables, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields an insert keeps; the table is made when there is none."""
    table = tables.get(name, Table())
    kept = table.check(None, fields)
    tables[name] = table  # a refused insert makes no table
    return kept


def _prepare_all(tables: Tables, name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As `_prepare` for several, which must not clash with each other either."""
    probe = tables.get(name, Table()).copy()
    for at, row in enumerate(rows):
        probe.documents[f"row {at}"] = Stored(0.0, probe.check(None, row))
    tables.setdefault(name, Table())
    return [stored.fields for stored in list(probe.documents.values())[-len(rows) :]]


def _read(ctx: Any, spec: Spec) -> Any:
    """Runs the query on the workspace."""
    if spec.nested is not None:
        return {"inner": ctx.run_query(spec.nested)}
    if spec.verb == "count":
        return ctx.db.count(spec.table)
    query = ctx.db.query(spec.table)
    if spec.index is not None:
        query = query.with_index(spec.index, lambda q: _bounded(q, spec))
    query = query.order(spec.order)
    for tree in spec.filters:
        query = query.filter(lambda q, tree=tree: _expression(q, tree))
    match spec.verb:
        case "take":
            return query.take(spec.count)
        case "page":
            return query.paginate(num_items=spec.count)
    return getattr(query, spec.verb)()


def _bounded(builder: Any, spec: Spec) -> Any:
    for path, value in spec.equal:
        builder.eq(path, value)
    if spec.lower is not None:
        (builder.gte if spec.lower.is_inclusive else builder.gt)(*spec.lower[:2])
    if spec.upper is not None:
        (builder.lte if spec.upper.is_inclusive else builder.lt)(*spec.upper[:2])
    return builder


def _expression(builder: Any, tree: Any) -> Any:
    name, *parts = tree
    if name == "value":
        return parts[0]
    if name == "field":
        return builder.field(parts[0])
    method = getattr(builder, f"{name}_" if name in ("and", "or", "not") else name)
    return method(*(_expression(builder, part) for part in parts))


def _without_cursors(value: Any) -> Any:
    """A result as the model gives it: of a page only its rows and whether it is the last."""
    if isinstance(value, dict) and "continueCursor" in value:
        return {"page": value["page"], "isDone": value["isDone"]}
    if isinstance(value, dict) and value.keys() == {"inner"}:
        return {"inner": _without_cursors(value["inner"])}
    return value


def _decoded(text: str | None) -> Any:
    """The fields of a document given as JSON text."""
    return None if text is None else exact(decode_value(text.encode()))


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("_id", "_creationTime")}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return list(map(_sorted, value)) if isinstance(value, list) else value


def _state(each: Following) -> Any:
    return _outcome(lambda: _value(each)), str(each.handle.error)


def _value(each: Following) -> Any:
    value = each.handle.value
    return exact(value.to_pylist() if isinstance(value, pa.Table) else value)


def _is_documents(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(row, dict) and "_id" in row for row in value)


def _definition(
    name: str, types: dict[str, Any] | None, indexes: tuple[Index, ...]
) -> TableDefinition:
    document = None if types is None else _validator(("object", types))
    declared = tuple(IndexDefinition(i.name, i.fields, i.is_unique) for i in indexes)
    return TableDefinition(name, document, declared)


def _validator(kind: Any) -> Any:
    match kind:
        case str():
            return getattr(v, kind)()
        case ("optional", inner):
            return v.optional(_validator(inner))
        case ("literal", value):
            return v.literal(value)
        case ("union", *members):
            return v.union(*map(_validator, members))
        case ("object", types):
            return v.object({name: _validator(each) for name, each in types.items()})
    raise AssertionError(kind)


# -- SQL -------------------------------------------------------------------------------------------


def _collected(spec: Spec, model: Model) -> Any:
    return run(spec, model.tables, {})


def _table(model: Model, name: str) -> Table:
    if name not in model.tables:
        raise ModelError("SqlError")
    return model.tables[name]


TYPED = ("num", "count", "flag", "when", "big", "raw")
"""Fields of `strict` whose column holds the value itself."""


def _typed_rows(name: str, model: Model) -> list[Any]:
    """A whole table as SQL shows it: ids, times and, of a schema, the typed fields."""
    table = _table(model, name)
    typed = TYPED if table.types is not None else ()
    return [
        [row["_id"], row["_creationTime"], *(_typed(table, row, field) for field in typed)]
        for row in table.in_order(None, "asc")
    ]


def _typed(table: Table, row: dict[str, Any], name: str) -> Any:
    assert table.types is not None
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if table.types[name] == "number" else int(value)
    if isinstance(value, float) and table.types[name] == "integer":
        return int(value)  # stored before the schema said so; the column is a projection
    return value


def _typed_of_arrow(name: str, rows: pa.Table, model: Model) -> list[Any]:
    is_typed = name in model.tables and model.tables[name].types is not None
    names = ("_id", "_creationTime", *(TYPED if is_typed else ()))
    columns = [rows.column(each).to_pylist() for each in names]
    return [list(row) for row in zip(*columns, strict=True)]


def _shown_value(value: Any, _: Model) -> Any:
    return _without_cursors(value)


def _shown_rows(rows: pa.Table, _: Model) -> list[dict[str, Any]]:
    return rows.to_pylist()


def _count_sql(name: str, model: Model) -> list[Any]:
    return [{"n": len(_table(model, name).documents)}]


def _ids_sql(name: str, model: Model) -> list[Any]:
    return [{"_id": row["_id"]} for row in _table(model, name).in_order(None, "desc")]


def _pairs_sql(model: Model) -> list[Any]:
    sizes = [len(_table(model, name).documents) for name in (LOOSE, UNIQUE)]
    return [{"n": sizes[0] * sizes[1]}]


SQL: tuple[tuple[str, Callable[[Model], Any]], ...] = (
    *((f'select count(*) as n from "{name}"', partial(_count_sql, name)) for name in TABLES),
    *(
        (
            f'select _id from "{name}" order by "_creationTime" desc, _id desc',
            partial(_ids_sql, name),
        )
        for name in TABLES
    ),
    (f"select count(*) as n from {LOOSE}, {UNIQUE}", _pairs_sql),
)


def read_tables(db: livedb.Database, known: Model) -> Tables:
    """What a workspace holds, where nobody knows: after a kill within a load or a schema change."""
    found: Tables = {}
    for entry in db.backend.catalog():
        name = entry.definition.name
        before = known.tables.get(name)
        types = before.types if before is not None else None
        if entry.definition.document is None:
            types = None
        elif types is None or _definition(name, types, ()).document != entry.definition.document:
            candidates = [each for each in STRICT_TYPES if each is not None]
            types = next(
                each
                for each in candidates
                if _definition(name, each, ()).document == entry.definition.document
            )
        indexes = tuple(Index(i.name, i.fields, i.is_unique) for i in entry.definition.indexes)
        documents = {
            row["_id"]: Stored(row["_creationTime"], _fields(row)) for row in db[name].collect()
        }
        found[name] = Table(types, indexes, documents)
    return found
