"""livedb's own functions, which Convex's command line tool and dashboards call as an administrator.

They are internal functions like any other, under names that no module can have.

Source: spec sync-protocol.md 14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from livedb.errors import InvalidValueError
from livedb.functions.context import MutationContext, QueryContext
from livedb.functions.cron_functions import CRON_FUNCTIONS
from livedb.functions.database import SystemWriter
from livedb.functions.definition import (
    FunctionDefinition,
    FunctionKind,
    Registry,
    define,
    wire_kind,
)
from livedb.functions.http_routes import Route
from livedb.functions.scheduling import CANCEL, IS_CANCELLED, SCHEDULE
from livedb.functions.searches import VECTOR_SEARCH, any_of_pairs
from livedb.functions.storage import CLOUD_URL_VARIABLE
from livedb.functions.storage_functions import STORAGE_FUNCTIONS
from livedb.schema.tables import ENVIRONMENT_TABLE
from livedb.schema.wire_types import wire_json

UPDATE_ENVIRONMENT = "_system/cli/updateEnvironmentVariables:default"
READ_ENVIRONMENT = "_system/cli/queryEnvironmentVariables:values"
CLOUD_URL = "_system/cli/convexUrl:cloudUrl"
SITE_URL = "_system/cli/convexUrl:siteUrl"
API_SPEC = "_system/cli/modules:apiSpec"

SITE_URL_VARIABLE = "CONVEX_SITE_URL"
"""With `CLOUD_URL_VARIABLE` it is there while a service runs, and nobody sets it."""

NAME_CHARACTERS_MAX = 40
"""Of an environment variable (Convex)."""

VALUE_BYTES_MAX = 8 << 10
"""Of an environment variable (Convex)."""

VARIABLES_MAX = 1_000
"""Environment variables of a workspace (Convex)."""


def define_system_functions(registry: Registry) -> None:
    """Put them into a workspace's registry."""
    for definition in (*_FUNCTIONS, *STORAGE_FUNCTIONS, *CRON_FUNCTIONS):
        registry.define(definition)

    def api_spec(ctx: QueryContext) -> list[dict[str, Any]]:  # noqa: ARG001
        return function_spec([registry.get(name) for name in registry.names()])

    registry.define(define(api_spec, kind="query", visibility="internal", name=API_SPEC))


def define_urls(registry: Registry, cloud_url: str, site_url: str) -> None:
    """Say where the workspace is served, for whoever asks a function."""
    for name, url in ((CLOUD_URL, cloud_url), (SITE_URL, site_url)):

        def place(ctx: QueryContext, url: str = url) -> str:  # noqa: ARG001
            return url

        registry.define(define(place, kind="query", visibility="internal", name=name))


def tables(ctx: QueryContext, paginationOpts: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001, N803
    """Every table, on one page."""
    catalog = ctx.db._snapshot.catalog  # noqa: SLF001  # livedb's own function
    names = [{"name": name} for name in catalog.names()]
    return {"page": names, "isDone": True, "continueCursor": ""}


def table_data(
    ctx: QueryContext,
    table: str,
    paginationOpts: dict[str, Any],  # noqa: N803  # the wire's name
    order: Literal["asc", "desc"] = "desc",
) -> Any:
    """A page of a table's documents."""
    rows = ctx.db.system.query(table) if table.startswith("_") else ctx.db.query(table)
    return rows.order(order).paginate(paginationOpts)


def environment(ctx: QueryContext) -> dict[str, str]:
    """All environment variables that somebody set."""
    return ctx.env.stored()


def environment_variables(ctx: QueryContext) -> list[dict[str, str]]:
    """All environment variables, as the command line tool lists them."""
    return [{"name": name, "value": value} for name, value in sorted(ctx.env.stored().items())]


def environment_variable(ctx: QueryContext, name: str) -> dict[str, str] | None:
    """One environment variable."""
    found = ctx.env.stored()
    return {"name": name, "value": found[name]} if name in found else None


def update_environment(ctx: MutationContext, changes: list[dict[str, Any]]) -> None:
    """Set variables `{name, value}`, and remove those without a value."""
    db = SystemWriter.of(ctx.db)
    known = {row["name"]: row["_id"] for row in db.query(ENVIRONMENT_TABLE).collect()}
    for change in changes:
        name, value = _checked(change)
        existing = known.pop(name, None)
        if existing is not None:
            db.delete(existing)
        if value is not None:
            known[name] = db.insert(ENVIRONMENT_TABLE, {"name": name, "value": value})
    if len(known) > VARIABLES_MAX:
        raise InvalidValueError(
            f"A workspace has at most {VARIABLES_MAX} environment variables",
            code="EnvironmentVariableLimitReached",
        )


def schedule(ctx: MutationContext, name: str, args: dict[str, Any], time: float) -> str:
    """Schedule a function for an action."""
    scheduled: str = ctx.scheduler._scheduling.schedule(name, args, time)  # noqa: SLF001
    return scheduled


def cancel(ctx: MutationContext, id: str) -> None:  # noqa: A002  # the wire's name
    """Cancel a scheduled function for an action."""
    ctx.scheduler.cancel(id)


def is_cancelled(ctx: QueryContext, id: str) -> bool:  # noqa: A002  # the wire's name
    """Whether a scheduled function that runs was cancelled; one that is forgotten was."""
    job = ctx.db.system.get(id)
    return job is None or job["state"]["kind"] == "canceled"


def vector_search(
    ctx: QueryContext,
    table: str,
    index: str,
    vector: list[float],
    limit: int,
    any_of: list[Any] | None,
) -> list[dict[str, Any]]:
    """What a vector search of an action finds: ids and scores."""
    query = ctx.db.query(table).with_vector_index(
        index, vector, limit=limit, filter=any_of_pairs(any_of)
    )
    return [{"_id": hit.id, "_score": hit.score} for hit in query.hits(limit)]


def _checked(change: Mapping[str, Any]) -> tuple[str, str | None]:
    name, value = change.get("name"), change.get("value")
    if value is None and isinstance(name, str):
        return name, None  # whatever its name: an earlier livedb took some that it could not list
    if not isinstance(name, str) or not _is_name(name):
        raise InvalidValueError(
            f"{name!r} is no name of an environment variable: letters of ASCII, digits and _, at "
            f"most {NAME_CHARACTERS_MAX}",
            code="InvalidEnvironmentVariableName",
        )
    if name in {CLOUD_URL_VARIABLE, SITE_URL_VARIABLE}:
        raise InvalidValueError(
            f"{name} says where the workspace is served; nobody sets it",
            code="ReservedEnvironmentVariableName",
        )
    if not isinstance(value, str):
        raise InvalidValueError(f"The value of {name} is no text", code="InvalidValue")
    if len(value.encode()) > VALUE_BYTES_MAX:
        raise InvalidValueError(
            f"The value of {name} is longer than {VALUE_BYTES_MAX:,} bytes",
            code="EnvironmentVariableTooLarge",
        )
    return name, value


def _is_name(name: str) -> bool:
    return name.isascii() and name.isidentifier() and len(name) <= NAME_CHARACTERS_MAX


def function_spec(functions: Iterable[FunctionDefinition]) -> list[dict[str, Any]]:
    """Each function as `npx convex function-spec` shows it: what generators of clients read."""
    spec: list[dict[str, Any]] = []
    for function in functions:
        name = function.name
        if function.kind == "http_action":
            route = Route.of_name(name)
            shown = f"{route.path}{'*' if route.is_prefix else ''}"
            kind = wire_kind(function.kind)
            spec.append({"functionType": kind, "method": route.method, "path": shown})
            continue
        module, colon, export = name.rpartition(":")
        spec.append(
            {
                "identifier": f"{module if colon else 'cells'}.js:{export}",
                "functionType": wire_kind(function.kind),
                "visibility": {"kind": function.visibility},
                "args": wire_json(function.signature.args_json()),
                "returns": wire_json(function.signature.returns_json() or {"type": "any"}),
            }
        )
    return spec


_NAMED: tuple[tuple[FunctionKind, str, Callable[..., Any]], ...] = (
    ("query", "_system/cli/tables:default", tables),
    ("query", "_system/cli/tableData:default", table_data),
    ("query", "_system/cli/queryEnvironmentVariables:default", environment_variables),
    ("query", "_system/cli/queryEnvironmentVariables:get", environment_variable),
    ("query", READ_ENVIRONMENT, environment),
    ("query", VECTOR_SEARCH, vector_search),
    ("query", IS_CANCELLED, is_cancelled),
    ("mutation", UPDATE_ENVIRONMENT, update_environment),
    ("mutation", SCHEDULE, schedule),
    ("mutation", CANCEL, cancel),
)

_FUNCTIONS = tuple(
    define(function, kind=kind, visibility="internal", name=name) for kind, name, function in _NAMED
)
"""Those that are the same in every workspace."""


def system_function(name: str) -> FunctionDefinition:
    """The one of that name, of those that are the same in every workspace."""
    return next(each for each in _FUNCTIONS if each.name == name)
