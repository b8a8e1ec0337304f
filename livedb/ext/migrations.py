"""Migrations of a table's documents, in batches, each a transaction of its own.

    from livedb.ext import migrations

    db.push(migrations)                         # or schema.py: {**migrations.TABLES, ...}

    @db.mutation(internal=True)
    @migrations.migration("tasks")
    def set_priority(ctx, task):
        if "priority" not in task:
            return {"priority": 3}              # a patch; None leaves the document alone

    set_priority(dry_run=True)                  # what it would do to the first batch
    set_priority()                              # begins it, or goes on where it stopped
    set_priority(cancel=True)                   # stops it after the batch in progress
    db["migrations"].live()                     # how far it is

A batch changes its documents, notes how far it has come and schedules the next one in one commit: a
process that dies loses nothing and does nothing twice, and whoever opens the workspace next goes
on. Documents that are inserted meanwhile come last. What the function raises undoes its batch and
is kept as the migration's `error`; calling it again goes on at that batch. A table that is not
there is refused: a misspelt one must not look as if it were done.

Source: the behaviour of Convex's component `migrations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from livedb.errors import FunctionTypeError, InvalidValueError, LivedbError, SchemaDefinitionError
from livedb.functions.context import MutationContext
from livedb.functions.database import table_name
from livedb.functions.definition import did_you_mean
from livedb.schema.namespace import v
from livedb.schema.tables import define_schema, define_table
from livedb.values import Document

TABLE = "migrations"

TABLES = {
    TABLE: define_table(
        {
            "name": v.string(),
            "table": v.string(),
            "state": v.union(*map(v.literal, ("running", "done", "canceled", "failed"))),
            "processed": v.integer(),
            "changed": v.integer(),
            "total": v.integer(),
            "error": v.union(v.string(), v.null()),
            "cursor": v.union(v.string(), v.null()),
            "batch": v.integer(),
            "job": v.union(v.string(), v.null()),
            "updated": v.datetime(),
        }
    ).index("by_name", ["name"], unique=True)
}
"""For a `schema.py`: `define_schema({**migrations.TABLES, ...})`.

`processed` documents were looked at and `changed` of them changed, of `total` that there were when
it began; `cursor` is where the next batch begins, and `job` what runs it.
"""

schema = define_schema(TABLES)

BATCH_DOCUMENTS = 100
"""Documents of a batch."""

CHANGES_SHOWN_MAX = 20
"""Changes that a dry run shows."""

_ENDED = ("success", "failed", "canceled")

Migrate = Callable[[MutationContext, Any], Mapping[str, Any] | None]
"""Given a document, gives a patch of it."""


class Migration(Protocol):
    """What `migration` makes of it, to be decorated as a mutation."""

    def __call__(
        self,
        ctx: MutationContext,
        /,
        *,
        dry_run: bool = False,
        cancel: bool = False,
        restart: bool = False,
    ) -> Any:
        """Begin the migration, or go on with it; at most one of the options."""


class _DryRunError(LivedbError):
    """Undoes the batch of a dry run, and carries what it did."""

    def __init__(self, outcome: dict[str, Any]) -> None:
        super().__init__("a dry run is undone")
        self.outcome = outcome


def migration(
    table: str | type[Any], *, batch_documents: int = BATCH_DOCUMENTS
) -> Callable[[Migrate], Migration]:
    """Make a function of one document a mutation that migrates them all; put it below `@mutation`.

    The function gets `ctx` and a document, and returns a patch, or None after having done what is
    to be done itself. The mutation takes `dry_run`, `cancel` and `restart` (True begins at the
    first document again), and returns the migration's document in the table `migrations`.

    Raises:
        InvalidValueError: `batch_documents` is below 1.
        SchemaDefinitionError: when it is called, there is no such table, and nothing was begun.
    """
    if batch_documents < 1:
        raise InvalidValueError(f"batch_documents must be at least 1, not {batch_documents!r}")
    name = table_name(table)

    def decorate(migrate: Migrate) -> Migration:
        def run(
            ctx: MutationContext,
            dry_run: bool = False,  # noqa: FBT001, FBT002  # arguments on the wire have names
            cancel: bool = False,  # noqa: FBT001, FBT002
            restart: bool = False,  # noqa: FBT001, FBT002
            step: dict[str, Any] | None = None,
        ) -> Any:
            asked = {"dry run": dry_run, "cancel": cancel, "restart": restart}
            return run_migration(ctx, migrate, name, batch_documents, asked, step)

        run.__name__ = run.__qualname__ = migrate.__name__
        run.__module__ = migrate.__module__
        run.__doc__ = migrate.__doc__
        return run

    return decorate


def run_migration(
    ctx: MutationContext,
    migrate: Migrate,
    table: str,
    batch_documents: int,
    asked: Mapping[str, bool],
    step: dict[str, Any] | None,
) -> Any:
    """What a mutation made by `migration` does.

    Args:
        asked: which of the options were given.
        step: it is called by itself: for the next batch, or inside of that for its documents.
    """
    name = ctx.meta.get_function_metadata()["name"]
    if sum(asked.values()) > 1:
        raise FunctionTypeError(f"{name} takes one of dry_run, cancel and restart at a time")
    if step is not None and "batch" in step:
        return _go_on(ctx, name, step["batch"])
    if step is not None:
        outcome = _migrate(ctx, migrate, table, batch_documents, step["cursor"])
        if step.get("undo"):
            raise _DryRunError(outcome)
        return outcome
    if asked["dry run"]:
        return _dry_run(ctx, name, table)
    if asked["cancel"]:
        return _cancel(ctx, name)
    return _begin(ctx, name, table, is_anew=asked["restart"])


def _begin(ctx: MutationContext, name: str, table: str, *, is_anew: bool) -> Document:
    """Begin at the start, or go on after a failure, a cancellation, or a batch that was lost.

    What was done under this name to another table, as before a misspelt one was mended, is not
    done to this one.
    """
    _require_table(ctx, table)
    row = _row(ctx, name)
    if row is not None and row["table"] == table and not is_anew:
        if row["state"] == "done" or (row["state"] == "running" and _is_scheduled(ctx, row)):
            return row
        return _schedule(ctx, row, {"state": "running", "error": None})
    counts = {"processed": 0, "changed": 0, "total": ctx.db.count(table)}
    fields = {"table": table, "state": "running", "error": None, "cursor": None, **counts}
    if row is None:
        since = {"name": name, "batch": 0, "job": None, "updated": ctx.now}
        row = _get(ctx, ctx.db.insert(TABLE, {**since, **fields}))
    return _schedule(ctx, row, fields)


def _is_scheduled(ctx: MutationContext, row: Document) -> bool:
    """Whether its next batch is still to run."""
    job = ctx.db.system.get(row["job"]) if row["job"] is not None else None
    return job is not None and job["state"]["kind"] not in _ENDED


def _schedule(ctx: MutationContext, row: Document, changes: Mapping[str, Any]) -> Document:
    """Have the next batch run; an earlier one that is still scheduled finds that it is none."""
    batch = row["batch"] + 1
    job = ctx.scheduler.run_after(0, row["name"], step={"batch": batch})
    ctx.db.patch(row["_id"], {**changes, "batch": batch, "job": job, "updated": ctx.now})
    return _get(ctx, row["_id"])


def _cancel(ctx: MutationContext, name: str) -> Document | None:
    row = _row(ctx, name)
    if row is None or row["state"] != "running":
        return row
    ctx.db.patch(row["_id"], {"state": "canceled", "updated": ctx.now})
    return _get(ctx, row["_id"])


def _dry_run(ctx: MutationContext, name: str, table: str) -> dict[str, Any]:
    """What the next batch would do."""
    row = _row(ctx, name)
    goes_on = row is not None and row["table"] == table and row["state"] != "done"
    at = row["cursor"] if row is not None and goes_on else None
    try:
        ctx.run_mutation(name, {"step": {"cursor": at, "undo": True}})
    except _DryRunError as ended:
        return {name: ended.outcome[name] for name in ("processed", "changed", "changes")}
    raise AssertionError("a dry run raises what it did")


def _go_on(ctx: MutationContext, name: str, batch: int) -> None:
    """Run a batch and schedule the next one, or note why not."""
    row = _row(ctx, name)
    if row is None or row["state"] != "running" or row["batch"] != batch:
        return  # it was cancelled, or began anew, after this was scheduled
    try:
        outcome = ctx.run_mutation(name, {"step": {"cursor": row["cursor"]}})
    except Exception as error:  # a migration's own error is part of its state
        if isinstance(error, LivedbError) and error.is_transient:
            raise
        told = f"{type(error).__name__}: {error}"
        ctx.db.patch(row["_id"], {"state": "failed", "error": told, "updated": ctx.now})
        return
    changes = {
        "cursor": outcome["cursor"],
        "processed": row["processed"] + outcome["processed"],
        "changed": row["changed"] + outcome["changed"],
    }
    if outcome["isDone"]:
        done = {"state": "done", "cursor": None, "job": None, "updated": ctx.now}
        ctx.db.patch(row["_id"], {**changes, **done})
    else:
        _schedule(ctx, row, changes)


def _migrate(
    ctx: MutationContext, migrate: Migrate, table: str, documents: int, cursor: str | None
) -> dict[str, Any]:
    """Migrate the documents of one batch."""
    _require_table(ctx, table)
    page = ctx.db.query(table).paginate(num_items=documents, cursor=cursor)
    changes: list[dict[str, Any]] = []
    changed = 0
    for document in page["page"]:
        document_id = document["_id"]
        patch = migrate(ctx, document)
        if patch:
            ctx.db.patch(document_id, patch)
            changed += 1
            if len(changes) < CHANGES_SHOWN_MAX:
                changes.append({"_id": document_id, "patch": dict(patch)})
    return {
        "processed": len(page["page"]),
        "changed": changed,
        "changes": changes,
        "cursor": page["continueCursor"],
        "isDone": page["isDone"],
    }


def _require_table(ctx: MutationContext, table: str) -> None:
    """Refuse a table that is not there.

    Raises:
        SchemaDefinitionError: it is not.
    """
    snapshot = ctx.db._snapshot  # noqa: SLF001  # livedb's own function
    if snapshot.table(table) is None:
        advice = did_you_mean(table, snapshot.catalog.names()) or (
            "A table is there once a schema declares it, or a document was inserted."
        )
        raise SchemaDefinitionError(f"There is no table {table!r} to migrate. {advice}")


def _row(ctx: MutationContext, name: str) -> Document | None:
    return ctx.db.query(TABLE).with_index("by_name", name=name).unique()


def _get(ctx: MutationContext, row_id: str) -> Document:
    """The row as this transaction has it now."""
    found: Document = ctx.db.get(row_id)
    return found
