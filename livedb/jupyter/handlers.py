"""What a Jupyter server answers under `<base_url>/livedb/`: a list of workspaces, and each of them.

Jupyter's login is the door: nothing passes that is not logged in, nothing is looked for before
that, and pages of other origins are held off as from a kernel. Behind it a request goes to the
service of its workspace and the answer comes back, both as they come; a WebSocket, once the service
has agreed to it, is passed on byte by byte, so pings, fragments and close codes are the service's
and the client's own. What reaches the service is named here, header by header: for whom it is says
this server and nobody else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from html import escape
from http.client import responses
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_plus

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.iostream import IOStream, StreamClosedError

from livedb.auth.access import Caller
from livedb.commitlog.lock import Holder
from livedb.errors import LivedbError
from livedb.functions.storage import UPLOAD_PATH
from livedb.jupyter.folders import Place, find_workspace, list_workspaces
from livedb.jupyter.headers import answered, asked, asked_of_site
from livedb.jupyter.services import Services, holder_of
from livedb.jupyter.upstream import CHUNK_BYTES, Head, Upstream, UpstreamError
from livedb.jupyter.users import ACTIONS, RESOURCE, UserRules, authorization_of
from livedb.service.paths import UNDER_API
from livedb.service.vouching import HEADER, vouch

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1Connection

    from livedb.jupyter.extension import LivedbExtension

WHO_S_MAX = 2.0
"""Seconds a service may take to say who is connected, for the list."""

UPGRADE_S_MAX = 4.0
"""Seconds somebody who connects waits for a service that starts; clients soon give up themselves,
and come again."""

LAST_WORDS_S_MAX = 10.0
"""Seconds a client may take to read what a service that has ended sent before."""

UPLOAD_BYTES_MAX = 1 << 40
"""Bytes of an upload that are passed on; the service's own bound, `Limits.file_bytes_max`, is far
below."""

_OWN_HEADERS = "convex-client, x-livedb-authorization"
"""Which pages of other origins send, beside those of Jupyter's own calls."""

_ASKED_FOR_UPGRADE = (
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
)

_ANSWERED_TO_UPGRADE = frozenset(
    {"sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions"}
)


class Refusal(web.HTTPError):
    """What a request is answered instead; with a code as the service's answers have one."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, message)
        self.code, self.message = code, message


class LivedbHandler(APIHandler):
    """A request of somebody who is logged in."""

    def initialize(self, extension: LivedbExtension) -> None:
        self._extension = extension

    @property
    def services(self) -> Services:
        return self._extension.services

    @property
    def rules(self) -> UserRules:
        return self._extension.rules

    @property
    def root(self) -> Path:
        return self._extension.root

    @property
    def content_security_policy(self) -> str:
        # What a workspace's functions give must not run as a page of this server.
        return f"{super().content_security_policy}; sandbox"

    async def prepare(self) -> None:  # type: ignore[override]  # as its own base has it
        self._read_token_of_url()
        try:
            await super().prepare()
        except web.HTTPError as error:
            if error.status_code != 404:
                raise
            # With that the server answers pages of another origin.
            raise Refusal(
                403, "OriginNotAllowed", "Pages of another origin may not call this server."
            ) from None
        if self.request.method != "OPTIONS" and not self._finished:
            # Also where the server leaves that to its handlers, as a hub's does.
            _pass_if_logged_in(self)

    def _read_token_of_url(self) -> None:
        """A browser's WebSocket has its URL alone; a hub reads headers, where it has none."""
        if self.is_upload:
            # That of an upload URL: it opens no Jupyter server, and must not stand for its login.
            for arguments in (self.request.arguments, self.request.query_arguments):
                arguments.pop("token", None)
        token = self.get_query_argument("token", "")
        if token and self.is_upgrade and "Authorization" not in self.request.headers:
            self.request.headers["Authorization"] = f"token {token}"

    @property
    def is_upload(self) -> bool:
        """Whether a file comes by an upload URL of a workspace; an HTTP action is none."""
        path = self.request.path
        return path.endswith(UPLOAD_PATH) and not path.endswith(f"{UNDER_API}{UPLOAD_PATH}")

    @property
    def is_upgrade(self) -> bool:
        """Whether a WebSocket is asked for."""
        return self.request.headers.get("Upgrade", "").lower() == "websocket"

    async def caller(self) -> Caller:
        """Who asks, and what they may do at most."""
        for action, most in ACTIONS:
            allowed = self.authorizer.is_authorized(self, self.current_user, action, RESOURCE)
            if await ensure_async(allowed):
                return self.rules.caller(self.current_user, most)
        raise Refusal(403, "Forbidden", f"This server does not let you use {RESOURCE}.")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Errors look like those of a service, so that clients read them out."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        code, message = "JupyterServer", responses.get(status_code, "")
        if isinstance(error, Refusal):
            code, message = error.code, error.message
        elif status_code == 403:
            code, message = "JupyterLogin", _login_advice(error)
        elif isinstance(error, web.HTTPError):
            message = error.log_message or message
        self.set_header("Content-Type", "application/json")
        self.set_header("Connection", "close")  # what was not read of a body will not be
        self.finish(json.dumps({"code": code, "message": message}))


@web.authenticated
def _pass_if_logged_in(_: web.RequestHandler) -> None:
    """Lead whoever is not logged in to the login, or refuse them; then the request is finished."""


def _login_advice(error: object) -> str:
    said = getattr(error, "log_message", None)
    return (
        "The Jupyter server did not let this request in"
        f"{f' ({said})' if said else ''}. It wants its own login: a token of the server as "
        "'Authorization: token ...' or '?token=...', or the cookie of a page that is logged in."
    )


@web.stream_request_body
class WorkspaceHandler(LivedbHandler):
    """Passes what is under a workspace's path on to its service."""

    _upstream: Upstream | None = None
    _is_for_site = False
    """Whether it is one to an HTTP action of the workspace."""

    async def prepare(self) -> None:  # type: ignore[override]  # as its own base has it
        await super().prepare()
        if self.request.method == "OPTIONS" or self._finished:
            return
        caller = await self.caller()
        place = self._place()
        if self.is_upload and self.request.connection is not None:
            # Nothing of it is kept here, and the service knows how large a file may be.
            cast("HTTP1Connection", self.request.connection).set_max_body_size(UPLOAD_BYTES_MAX)
        self._is_for_site = place.rest == UNDER_API or place.rest.startswith(f"{UNDER_API}/")
        self.update_api_activity()
        try:
            patience_s = UPGRADE_S_MAX if self.is_upgrade else None
            self._upstream = await self.services.connect(place, patience_s=patience_s)
        except LivedbError as error:
            status = 409 if error.status == 423 else 503
            raise Refusal(status, error.code, error.message) from None
        headers = [
            ("Host", "localhost"),
            (HEADER, vouch(caller, ip=self.request.remote_ip)),
            *self._said(),
            *(self._upgrade_headers() if self.is_upgrade else self._body_headers()),
        ]
        assert self.request.method is not None, "it was parsed"
        try:
            await self._upstream.ask(self.request.method, self._target(place), headers)
        except ValueError as error:
            raise Refusal(400, "BadRequest", f"This request cannot be passed on: {error}") from None

    def _place(self) -> Place:
        below = len(self.base_url) + len("livedb/")
        hidden = bool(self.contents_manager.allow_hidden)
        place = find_workspace(self.root, self.request.path[below:], shows_hidden=hidden)
        if place is None:
            raise Refusal(
                404,
                "NoWorkspace",
                "There is no workspace at this path of the Jupyter server's folder; "
                f"{self.base_url}livedb/ lists those there are. livedb.open(path) in a notebook "
                "makes one.",
            )
        return place

    def _target(self, place: Place) -> str:
        """What the service is asked: without the server's own secrets."""
        kept = [each for each in self.request.query.split("&") if each and self._is_passed_on(each)]
        return f"{place.rest}?{'&'.join(kept)}" if kept else place.rest

    def _is_passed_on(self, argument: str) -> bool:
        name, _, value = (unquote_plus(part) for part in argument.partition("="))
        if name == "token" and self.is_upload:
            return value != getattr(self.identity_provider, "token", None)
        return name not in {"token", "_xsrf"}

    def _said(self) -> list[tuple[str, str]]:
        said = self.request.headers
        return asked_of_site(said) if self._is_for_site else asked(said)

    def _body_headers(self) -> list[tuple[str, str]]:
        headers = [("Connection", "close"), ("Accept-Encoding", "identity")]
        by_url = bool(self.get_query_argument("token", ""))
        brought = authorization_of(
            self.request.headers, opened_the_server=self.token_authenticated and not by_url
        )
        if brought is not None:
            headers.append(("Authorization", brought))
        length = self.request.headers.get("Content-Length")
        if length is not None:
            headers.append(("Content-Length", length))
        elif "Transfer-Encoding" in self.request.headers:
            headers.append(("Transfer-Encoding", "chunked"))
        return headers

    def _upgrade_headers(self) -> list[tuple[str, str]]:
        return [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            *_only(self.request.headers, _ASKED_FOR_UPGRADE),
        ]

    @allow_unauthenticated
    def options(self, *args: Any, **kwargs: Any) -> None:
        """Tell a page of an origin that the server lets call which headers it may send."""
        super().options(*args, **kwargs)
        if "Access-Control-Allow-Headers" not in self.settings.get("headers", {}):
            known = self._headers.get("Access-Control-Allow-Headers", "")
            self.set_header("Access-Control-Allow-Headers", f"{known}, {_OWN_HEADERS}")

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """A part of the body; the next is read when the service has taken this one."""
        return None if self._upstream is None else self._upstream.send(chunk)

    @web.authenticated
    async def relay(self, _: str) -> None:
        """Pass the answer on."""
        upstream = self._upstream
        assert upstream is not None, "it was asked"
        try:
            await upstream.end()
            head = await upstream.head()
            if head.status == 101:
                await _tunnel(self.detach(), upstream, head)
            else:
                await self._answer(upstream, head)
        except UpstreamError as error:
            if self._headers_written:
                self.detach().close()  # half an answer must not pass for a whole one
                return
            raise Refusal(502, "ServiceGone", f"{error}; ask again") from None
        except StreamClosedError:
            pass  # the client has gone
        finally:
            upstream.close()

    get = head = post = put = patch = delete = relay

    def compute_etag(self) -> None:
        """The service's ETag stands; one of what was passed on would take its place."""

    async def _answer(self, upstream: Upstream, head: Head) -> None:
        self.set_status(head.status, responses.get(head.status, "Answered"))
        kind = "application/json"
        for name, value in answered(head.headers, is_of_site=self._is_for_site):
            self.set_header(name, value)
            if name == "content-type":
                kind = value
        async for data in upstream.iter_body():
            self.write(data)
            await self.flush()
        self.finish(set_content_type=kind)

    def on_connection_close(self) -> None:
        """The client has gone: nobody waits for the service."""
        super().on_connection_close()
        if self._upstream is not None:
            self._upstream.close()

    def on_finish(self) -> None:
        """It was answered, by the service or by a refusal."""
        if self._upstream is not None:
            self._upstream.close()


def _only(headers: Mapping[str, str], names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, headers[name]) for name in names if name in headers]


async def _tunnel(client: IOStream, upstream: Upstream, head: Head) -> None:
    """Pass bytes both ways until one side ends; each waits while the other does not read."""
    kept = [(name, value) for name, value in head.headers if name in _ANSWERED_TO_UPGRADE]
    lines = ["Connection: Upgrade", "Upgrade: websocket", *(f"{name}: {v}" for name, v in kept)]
    client.set_nodelay(True)

    async def to_client() -> None:
        text = "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""])
        await client.write(text.encode("latin-1"))
        async for data in upstream.iter_raw():
            await client.write(data)

    async def to_service() -> None:
        while True:
            await upstream.send_raw(await client.read_bytes(CHUNK_BYTES, partial=True))

    inward, outward = asyncio.ensure_future(to_service()), asyncio.ensure_future(to_client())
    try:
        await asyncio.wait([inward, outward], return_when=asyncio.FIRST_COMPLETED)
        if inward.done() and isinstance(inward.exception(), OSError) and not client.closed():
            # The service has ended, and what it said at last is for the client.
            await asyncio.wait([outward], timeout=LAST_WORDS_S_MAX)
    finally:
        for each in (inward, outward):
            each.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await each
        client.close()


class ListHandler(LivedbHandler):
    """The workspaces of the server's folder: who has them open, and who is connected."""

    def get_login_url(self) -> str:
        """Who reads the page is led to the login; a program is refused."""
        if self._is_for_people:
            return super(APIHandler, self).get_login_url()
        return super().get_login_url()

    @property
    def _is_for_people(self) -> bool:
        return "text/html" in self.request.headers.get("Accept", "")

    @web.authenticated
    async def get(self) -> None:
        caller = await self.caller()
        hidden = bool(self.contents_manager.allow_hidden)
        found = await asyncio.to_thread(list_workspaces, self.root, shows_hidden=hidden)
        workspaces = await asyncio.gather(
            *(self._described(place, caller) for place in found.places)
        )
        if self._is_for_people:
            self.finish(
                _page(workspaces, is_complete=found.is_complete), set_content_type="text/html"
            )
            return
        self.finish(json.dumps({"workspaces": workspaces, "isComplete": found.is_complete}))

    async def _described(self, place: Place, caller: Caller) -> dict[str, Any]:
        try:
            holder = await asyncio.to_thread(holder_of, place.folder)
        except LivedbError:  # another user's, say
            holder, state = None, "not readable"
        else:
            state = _state_of(holder)
        who = await self._who(holder, caller) if state == "served" and holder is not None else None
        origin = f"{self.request.protocol}://{self.request.host}"
        return {
            "name": place.name,
            "url": f"{origin}{self.base_url}livedb/{place.url_path}",
            "running": holder is not None,
            "state": state,
            "who": who,
        }

    async def _who(self, holder: Holder, caller: Caller) -> list[dict[str, str]] | None:
        """Who is connected; None when the caller may not know, or nobody says it in time."""
        from livedb import __version__

        if holder.address is None or holder.version != __version__:
            return None
        with suppress(OSError, UpstreamError, TimeoutError, ValueError, KeyError):
            async with asyncio.timeout(WHO_S_MAX):
                upstream = await Upstream.connect(holder.address)
                try:
                    headers = [
                        ("Host", "localhost"), (HEADER, vouch(caller)), ("Connection", "close"),
                    ]  # fmt: skip
                    await upstream.ask("GET", "/api/livedb/who", headers)
                    await upstream.end()
                    if (await upstream.head()).status != 200:
                        return None
                    body = b"".join([part async for part in upstream.iter_body()])
                finally:
                    upstream.close()
            who: list[dict[str, str]] = json.loads(body)["who"]
            return who
        return None


def _state_of(holder: Holder | None) -> str:
    if holder is None:
        return "closed"
    return "open in a process that does not serve it" if holder.address is None else "served"


def _page(workspaces: list[dict[str, Any]], *, is_complete: bool) -> str:
    """The list for people."""
    rows = "".join(
        f"<tr><td>{escape(each['name'])}</td><td>{escape(each['state'])}</td>"
        f"<td>{escape(', '.join(who['name'] for who in each['who'] or ()))}</td>"
        f"<td><code>{escape(each['url'])}</code></td></tr>"
        for each in workspaces
    )
    more = "" if is_complete else "<p>The folder is large: there may be others.</p>"
    heads = "".join(f"<th align=left>{each}</th>" for each in ("name", "state", "who", "url"))
    return (
        "<!doctype html><meta charset=utf-8><title>livedb workspaces</title>"
        f"<h1>Workspaces</h1><table cellpadding=6><tr>{heads}</tr>{rows}</table>{more}"
        "<p><code>livedb.connect(url, jupyter_token=...)</code> opens one.</p>"
    )
