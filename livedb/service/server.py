"""Runs the app of a service: on a thread of a kernel (`db.serve()`), or as a whole process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

import uvicorn

from livedb.errors import WorkspaceError
from livedb.protocol.messages import CLIENT_MESSAGE_BYTES_MAX
from livedb.service.access import Access
from livedb.service.app import ServiceApp, ServiceSettings
from livedb.service.transport import FragmentingProtocol, PromptHttpProtocol
from livedb.workspace import Workspace
from livedb.workspace_files import PORT_MAX

START_S_MAX = 15.0
"""Seconds a service may take until it listens."""


class ServiceThread:
    """A service on a thread of this process. `close()` it; it is a context manager.

    Args:
        preferred_port: is taken when it is free and `port` is 0, which says that any may be.
        site_port: where HTTP actions are answered, 0 for any port that is free; without one
            `preferred_site_port`, the port after `port`, or any: the first that is free.
        listeners: further sockets to serve, which listen already; whoever made them closes them.

    Raises:
        WorkspaceError: the port is taken, or it cannot start.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        preferred_port: int | None = None,
        site_port: int | None = None,
        preferred_site_port: int | None = None,
        access: Access | None = None,
        settings: ServiceSettings | None = None,
        listeners: Sequence[socket.socket] = (),
    ) -> None:
        self._more = list(listeners)
        self._socket = _listen_preferably(host, port, preferred_port)
        self.host, self.port = self._socket.getsockname()[:2]
        try:
            self._site_socket = _listen_for_site(host, self.port, site_port, preferred_site_port)
        except BaseException:
            self._socket.close()
            raise
        self.site_port: int = self._site_socket.getsockname()[1]
        settings = settings or ServiceSettings()
        settings = replace(
            settings,
            public_url=settings.public_url or self.url,
            site_url=settings.site_url or self.site_url,
            site_port=self.site_port,
        )
        app = ServiceApp(workspace, access or Access(workspace.clock), settings)
        self._server = ServiceServer(app)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="livedb-service", daemon=True)
        self._thread.start()
        deadline = threading.Event()
        for _ in range(int(START_S_MAX * 100)):
            if self._server.started or not self._thread.is_alive():
                break
            deadline.wait(0.01)
        if not self._server.started:
            self._server.should_exit = True
            raise WorkspaceError(f"The service did not start: {self._error}")

    @property
    def url(self) -> str:
        """Where clients find it."""
        return url_of(self.host, self.port)

    @property
    def site_url(self) -> str:
        """Where its HTTP actions are found."""
        return url_of(self.host, self.site_port)

    def _run(self) -> None:
        try:
            sockets = [self._socket, self._site_socket, *self._more]
            asyncio.run(self._server.serve(sockets=sockets))
        except BaseException as error:  # noqa: BLE001  # told by whoever waits for the start
            self._error = error

    def close(self) -> None:
        """Stop serving; connected clients are told to come again."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self._site_socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ServiceServer(uvicorn.Server):
    """uvicorn, told how to run a service's app; `serve()` it."""

    def __init__(self, app: ServiceApp) -> None:
        super().__init__(uvicorn_config(app))
        self._service = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer who waits, then end every connection."""
        self._service.stop_waiting()
        await super().shutdown(sockets)


def uvicorn_config(app: Any) -> uvicorn.Config:
    """How uvicorn runs a service's app."""
    return uvicorn.Config(
        app,
        http=PromptHttpProtocol,
        ws=FragmentingProtocol,
        ws_max_size=CLIENT_MESSAGE_BYTES_MAX,
        ws_ping_interval=5.0,
        ws_ping_timeout=120.0,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        lifespan="on",
    )


def url_of(host: str, port: int) -> str:
    """What clients call an address by; one that means all of this machine's, by its name."""
    name = socket.gethostname() if host in _EVERYWHERE else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  # told apart, not listened on


def _listen_preferably(host: str, port: int, preferred: int | None) -> socket.socket:
    if port == 0 and preferred is not None:
        with suppress(WorkspaceError):
            return listening(host, preferred)
    return listening(host, port)


def _listen_for_site(
    host: str, port: int, site_port: int | None, preferred: int | None
) -> socket.socket:
    if site_port is not None:
        return listening(host, site_port)
    # Nobody asked for these, so two services may stand side by side.
    for each in (preferred, port + 1):
        if each is not None and each <= PORT_MAX:
            with suppress(WorkspaceError):
                return listening(host, each)
    return listening(host, 0)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; whoever asked closes it.

    Raises:
        WorkspaceError: the port is taken, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off for its connections; without, a
    # response and the transition behind it are 40 ms apart.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise WorkspaceError(f"Cannot listen on {host}:{port}: {error.strerror}") from None
    return listener
