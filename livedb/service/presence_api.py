"""Who is connected, for those who ask once and follow nothing, such as a list of workspaces."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livedb.auth.access import Permission
from livedb.service.http_api import as_json, caller_of, route
from livedb.service.hub import Hub


def presence_routes(hub: Callable[[], Hub]) -> list[Route]:
    """The one route."""
    return [route(hub, "/api/livedb/who", _who, "GET")]


async def _who(request: Request, hub: Hub) -> Response:
    hub.access.require(await caller_of(request, hub), Permission.SEE_VISITORS)
    visitors = hub.workspace.presence.visitors()
    who = [{"name": each.name, "role": each.role, "client": each.client} for each in visitors]
    return as_json({"who": who})
