"""What Convex's command line tool asks of a deployment beside functions; for administrators.

Source: spec sync-protocol.md 14. Not here: pushing TypeScript.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livedb.auth.access import Caller, Permission
from livedb.functions.system_functions import UPDATE_ENVIRONMENT
from livedb.protocol.effects import Failure
from livedb.protocol.messages import encode_json
from livedb.service.http_api import RequestError, as_json, call_for, caller_of, read_body, route
from livedb.service.hub import Hub


def admin_routes(hub: Callable[[], Hub]) -> list[Route]:
    """The routes of the command line tool."""
    return [
        route(hub, "/api/update_environment_variables", _update_environment, "POST"),
        route(hub, "/api/stream_function_logs", _stream_function_logs, "GET"),
    ]


async def _admin(request: Request, hub: Hub) -> Caller:
    caller = await caller_of(request, hub)
    hub.access.require(caller, Permission.CONFIGURE)
    assert caller is not None, "nobody has that permission"
    return caller


async def _update_environment(request: Request, hub: Hub) -> Response:
    caller = await _admin(request, hub)
    body = await read_body(request, dict[str, Any])
    outcome = await hub.run_path(
        UPDATE_ENVIRONMENT,
        encode_json({"changes": body.get("changes", [])}),
        kind="mutation",
        call=call_for(request, hub, caller),
        caller=caller,
        dialect=hub.convex,
    )
    if isinstance(outcome, Failure):
        raise RequestError(outcome.message.partition("\n")[2], code="BadEnvironmentVariables")
    return Response(status_code=200)


async def _stream_function_logs(request: Request, hub: Hub) -> Response:
    await _admin(request, hub)
    try:
        cursor = float(request.query_params.get("cursor", "0"))
    except ValueError:
        cursor = math.nan
    if not math.isfinite(cursor):
        raise RequestError("The cursor is a number")
    entries, newest = await hub.logs.wait_since(cursor)
    return as_json({"entries": entries, "newCursor": newest})
