"""The HTTP side of exports and imports; for those who may load and export data.

Source: spec sync-protocol.md 14. Beside what Convex's command line tool says, an import may say
`newIds`, `timeZone` and `nullValues`, a file may be Parquet, and an export may name each `table`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct, field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from livedb.auth.access import Permission
from livedb.service.http_api import RequestError, as_json, caller_of, read_body, route
from livedb.service.hub import Hub
from livedb.service.transfers import PARTS_MAX, UPLOAD_BYTES_MAX, ImportOrder, Upload
from livedb.transfer import FileFormat, ImportMode


class _Order(Struct, rename="camel"):
    """What is to become of a file."""

    mode: Literal["requireEmpty", "append", "replace", "replaceAll"]
    format: Literal["zip", "csv", "jsonLines", "jsonArray", "parquet"]
    table_name: str | None = None
    component_path: str | None = None
    new_ids: bool = False
    time_zone: str | None = None
    null_values: tuple[str, ...] = ()


class _Finish(Struct, rename="camel", kw_only=True):
    upload_token: str
    part_tokens: list[str]
    import_: _Order = field(name="import")


class _Perform(Struct, rename="camel"):
    import_id: str


_MODES: dict[str, ImportMode] = {
    "requireEmpty": "new",
    "append": "append",
    "replace": "replace",
    "replaceAll": "replace-all",
}
_FORMATS: dict[str, FileFormat] = {
    "csv": "csv",
    "jsonLines": "jsonl",
    "jsonArray": "json",
    "parquet": "parquet",
}


def transfer_routes(hub: Callable[[], Hub]) -> list[Route]:
    """The routes of exports and imports."""
    return [
        route(hub, "/api/export/request/zip", _request_export, "POST"),
        route(hub, "/api/export/zip/{ts:int}", _fetch_export, "GET"),
        route(hub, "/api/import/start_upload", _start_upload, "POST"),
        route(hub, "/api/import/upload_part", _upload_part, "POST"),
        route(hub, "/api/import/finish_upload", _finish_upload, "POST"),
        route(hub, "/api/perform_import", _perform_import, "POST"),
    ]


async def _require(request: Request, hub: Hub) -> None:
    hub.access.require(await caller_of(request, hub), Permission.LOAD)


# -- exports ---------------------------------------------------------------------------------------


async def _request_export(request: Request, hub: Hub) -> Response:
    await _require(request, hub)
    # Convex's tool says whether it wants files; ours leaves it to what is exported.
    said = request.query_params.get("includeStorage")
    tables = request.query_params.getlist("table") or None
    hub.transfers.request_export(tables, has_files=None if said is None else said == "true")
    return Response(status_code=200)


async def _fetch_export(request: Request, hub: Hub) -> Response:
    await _require(request, hub)
    start_ts: int = request.path_params["ts"]
    # Without quotes: Convex's tool takes the rest of the header for the name.
    name = f"attachment; filename=snapshot_{start_ts}.zip"
    return FileResponse(
        hub.transfers.exported(start_ts),
        media_type="application/zip",
        headers={"Content-Disposition": name},
    )


# -- imports ---------------------------------------------------------------------------------------


async def _start_upload(request: Request, hub: Hub) -> Response:
    await _require(request, hub)
    return as_json({"uploadToken": hub.transfers.start_upload()})


async def _upload_part(request: Request, hub: Hub) -> Response:
    await _require(request, hub)
    upload = hub.transfers.upload(request.query_params.get("uploadToken", ""))
    async with upload.lock:
        number = _part_number(request, upload)
        start = upload.ends[number - 2] if number > 1 else 0
        del upload.ends[number - 1 :]
        upload.ends.append(await _write(request, hub, upload, start))
    return as_json(str(number))


def _part_number(request: Request, upload: Upload) -> int:
    """The number of a part: the next one, or the last once more, as after a lost answer."""
    given = request.query_params.get("partNumber", "")
    number = int(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0
    known = len(upload.ends)
    if number not in {known, known + 1} or not 0 < number <= PARTS_MAX:
        raise RequestError(
            f"Part {given[:20]!r} does not follow part {known}; parts come in order from 1 to "
            f"{PARTS_MAX:,}"
        )
    return number


async def _write(request: Request, hub: Hub, upload: Upload, start: int) -> int:
    """Write a part from `start` on; returns where it ends."""
    file = await hub.in_thread(upload.path.open, "r+b")
    try:
        await hub.in_thread(file.seek, start)
        await hub.in_thread(file.truncate)
        async for chunk in request.stream():
            if file.tell() + len(chunk) > UPLOAD_BYTES_MAX:
                raise RequestError(
                    f"A file may have at most {UPLOAD_BYTES_MAX >> 30} GiB",
                    code="TooLarge",
                    status=413,
                )
            await hub.in_thread(file.write, chunk)
        return file.tell()
    except ClientDisconnect:
        raise RequestError("The part did not arrive whole") from None
    finally:
        await hub.in_thread(file.close)


async def _finish_upload(request: Request, hub: Hub) -> Response:
    await _require(request, hub)
    body = await read_body(request, _Finish)
    order = _order(body.import_)
    upload = hub.transfers.upload(body.upload_token)
    if body.part_tokens != [str(number) for number in range(1, len(upload.ends) + 1)]:
        raise RequestError(
            f"{len(upload.ends)} parts have arrived, and the tokens of {len(body.part_tokens)} "
            "were sent; send what is missing, or begin anew"
        )
    return as_json({"importId": hub.transfers.finish_upload(body.upload_token, order)})


def _order(given: _Order) -> ImportOrder:
    if given.component_path:
        raise RequestError("A livedb workspace has no components")
    if (given.format == "zip") == (given.table_name is not None):
        raise RequestError("A zip names its tables itself, and any other file needs `tableName`")
    return ImportOrder(
        mode=_MODES[given.mode],
        table=given.table_name,
        format=_FORMATS.get(given.format),
        has_new_ids=given.new_ids,
        zone=given.time_zone,
        null_values=given.null_values,
    )


async def _perform_import(request: Request, hub: Hub) -> Response:
    await _require(request, hub)
    body = await read_body(request, _Perform)
    hub.transfers.perform_import(body.import_id)
    return Response(status_code=200)
