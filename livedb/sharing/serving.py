"""A workspace served by this process: to others on the network, and to processes of its own user.

    TCP            whoever brings a token (or nobody in particular, where that was said)
    local door     processes of the same user, who open the same path; see `service.local_door`

The lock file names the local door. A system without Unix sockets has none: there, processes of the
same user come in by TCP, with a key that lies in the workspace's folder, which only they can read.
"""

from __future__ import annotations

import json
import logging
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from livedb import __version__
from livedb.auth.access import Role
from livedb.auth.access_tokens import PREFIX
from livedb.auth.providers import Provider, parse_providers
from livedb.client.address import is_loopback
from livedb.errors import InvalidValueError, WorkspaceError
from livedb.notebook.display import framed
from livedb.service import local_door
from livedb.service.access import Access
from livedb.service.app import ServiceSettings
from livedb.service.doors import Doors
from livedb.service.local_door import LocalDoor
from livedb.service.server import ServiceThread
from livedb.workspace import Workspace
from livedb.workspace_files import PORT_MAX

logger = logging.getLogger("livedb.service")

KEY_NAME = "socket.key"
"""Inside the workspace's folder, on systems without Unix sockets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How a workspace is to be served.

    Attributes:
        site_port: where HTTP actions are answered; None for the port after `port`, if it is free.
        providers: who may vouch for users.
        anonymous: the role of who brings nothing; None lets nobody in without something.
        admin_keys: keys that open everything.
        public_url: where clients find it, if not where it listens: behind a proxy, say.
        shows_errors: whether clients read what functions raise besides livedb's own errors.
        is_background: whether the process is there for nothing else, and nobody types in it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    site_port: int | None = None
    providers: Sequence[Provider] = ()
    anonymous: Role | None = None
    allow_origins: tuple[str, ...] = ()
    admin_keys: tuple[str, ...] = ()
    public_url: str = ""
    shows_errors: bool = True
    is_background: bool = False

    def is_met_by(self, known: ServeOptions) -> bool:
        """Whether what is served as `known` is what is asked for; any port does for port 0."""
        is_there = self.port in {0, known.port} and self.site_port in {None, 0, known.site_port}
        return is_there and self._rest() == known._rest()

    def _rest(self) -> tuple[Any, ...]:
        origins = frozenset(self.allow_origins)
        who = (tuple(self.providers), self.anonymous, self.admin_keys)
        return (self.host, *who, origins, self.public_url, self.shows_errors)


class Serving:
    """A workspace that is being served. `close()` it; it is a context manager.

    Attributes:
        url: where clients find it; holds no token.
        site_url: where its HTTP actions are.
    """

    def __init__(self, workspace: Workspace, options: ServeOptions) -> None:
        self._workspace = workspace
        self._ending = ExitStack()
        self._is_closed = False
        self._lock = threading.Lock()
        """Guards `_is_closed`; held while it closes."""
        with ExitStack() as undo:
            service = self._start(undo, options)
            self._ending = undo.pop_all()
        self.url, self.site_url = service.url, service.site_url
        self.options = replace(options, port=service.port, site_port=service.site_port)
        workspace.served_at = self.url
        workspace.closing.append(self.close_for_good)
        _open.add(self)

    def _start(self, undo: ExitStack, options: ServeOptions) -> ServiceThread:
        workspace = self._workspace
        access = Access(
            workspace.clock,
            providers=options.providers,
            tokens=workspace.invitations.tokens,
            anonymous=options.anonymous,
        )
        for key in options.admin_keys:
            self._admit(key, "admin key", undo)
        door = None
        if workspace.path is not None and local_door.has_local_door():
            door = LocalDoor(workspace.path)
            undo.callback(door.close)
        files = workspace.files
        port_before, site_port_before = files.last_ports()
        service = ServiceThread(
            workspace,
            host=options.host,
            port=options.port,
            preferred_port=port_before,
            site_port=options.site_port,
            preferred_site_port=site_port_before,
            access=access,
            settings=ServiceSettings(
                doors=_doors(options),
                public_url=options.public_url,
                shows_details=options.shows_errors,
            ),
            listeners=[] if door is None else [door.listener],
        )
        undo.callback(service.close)
        if options.port == 0 and port_before not in {None, service.port}:
            logger.warning(
                "port %d, where it was served before, is not free: it is served at %s now, and "
                "links made before do not lead here",
                port_before,
                service.url,
            )
        files.keep_ports(service.port, service.site_port)
        if workspace.path is not None:
            address = service.url if door is None else door.address
            if door is None:
                self._leave_key(workspace.path, undo)
            files.announce(address, __version__, is_background=options.is_background)
        return service

    def _admit(self, key: str, name: str, undo: ExitStack) -> None:
        """Let a key open everything while it is served."""
        tokens = self._workspace.invitations.tokens
        undo.callback(tokens.withdraw, tokens.admit(key, Role.OWNER, name).id)

    def _leave_key(self, folder: Path, undo: ExitStack) -> None:
        """Put a key of the owner's where only processes of the same user find it."""
        key = f"{PREFIX}{self._workspace.clock.random_bytes(32).hex()}"
        self._admit(key, local_door.user_name(), undo)
        path = folder / KEY_NAME
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(key)
        undo.callback(path.unlink, missing_ok=True)

    @property
    def is_closed(self) -> bool:
        """Whether it is served no more."""
        return self._is_closed

    def close(self) -> None:
        """Serve it no more: clients are told to come again later. The workspace stays open."""
        if self._end():
            with suppress(ValueError):  # the workspace is being closed
                self._workspace.closing.remove(self.close_for_good)
            self._workspace.files.announce(None)

    def close_for_good(self) -> None:
        """Close before the workspace: who finds nobody at the door looks until it is free."""
        self._end()

    def _end(self) -> bool:
        with self._lock:
            if self._is_closed:
                return False
            self._is_closed = True
            self._workspace.served_at = None
            self._ending.close()
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._is_closed:
            return f"<livedb served at {self.url}: closed>"
        return f"<livedb served at {self.url}, HTTP actions at {self.site_url}>"

    def _repr_html_(self) -> str:
        state = "closed" if self._is_closed else _who(self.options)
        cells = f"<td>{escape(self.url)}</td><td>HTTP actions: {escape(self.site_url)}</td>"
        table = f"<table><tbody><tr>{cells}</tr></tbody></table>"
        return framed("served", table, [state])


def serve_options(
    host: str,
    port: int,
    *,
    site_port: int | None = None,
    auth: Mapping[str, Any] | str | PathLike[str] | None,
    anonymous: bool | str,
    allow_origins: Sequence[str],
    admin_keys: Sequence[str] = (),
    public_url: str | None = None,
    show_errors: bool | None = None,
) -> ServeOptions:
    """What `db.serve` was asked for.

    Raises:
        InvalidValueError: a role, a port or an auth configuration that is none.
        WorkspaceError: anonymous access was not said clearly enough for this host.
    """
    for each in (port, site_port or 0):
        if not 0 <= each <= PORT_MAX:
            raise InvalidValueError(f"A port is a number from 0 to {PORT_MAX}, not {each!r}")
    if site_port and site_port == port:
        raise InvalidValueError(
            f"HTTP actions need another port than {port}, which is the service's"
        )
    if isinstance(allow_origins, str):
        raise InvalidValueError("allow_origins is a list of pages, such as ['https://a.example']")
    role = Role.MEMBER if anonymous is True else None
    if isinstance(anonymous, str):
        if anonymous not in {Role.MEMBER, Role.VIEWER}:
            raise InvalidValueError(
                f"Without a token one may be 'member' or 'viewer', not {anonymous!r}"
            )
        role = Role(anonymous)
    if anonymous is True and not is_loopback(host):
        raise WorkspaceError(
            f"Everybody who can reach {host} could call this workspace's functions without a "
            "token. If that is meant, say it: anonymous='member', or 'viewer' for queries only "
            "(--anonymous-as on the command line)."
        )
    return ServeOptions(
        host=host,
        port=port,
        site_port=site_port,
        providers=parse_providers(_auth_config(auth)) if auth is not None else (),
        anonymous=role,
        allow_origins=tuple(allow_origins),
        admin_keys=tuple(admin_keys),
        public_url=_public_url(public_url),
        shows_errors=is_loopback(host) if show_errors is None else show_errors,
    )


def _public_url(given: str | None) -> str:
    """Where clients find a service, as it was said; empty when nothing was."""
    if given is None:
        return ""
    parts = urlsplit(given)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise InvalidValueError(
            f"public_url is where clients find the service, such as https://live.example, and not "
            f"{given!r}"
        )
    return given.rstrip("/")


def is_closed_house(workspace: Workspace | None, options: ServeOptions) -> bool:
    """Whether nobody could come in by an address of the network.

    Args:
        workspace: None for one that is still to be made, where nobody is invited.
    """
    is_open = options.providers or options.anonymous or options.admin_keys
    if is_loopback(options.host) or is_open:
        return False
    if workspace is None:
        return True
    now_ns = workspace.clock.now_ns()
    return not any(token.is_good(now_ns) for token in workspace.invitations.kept())


def refuse_closed_house(workspace: Workspace, options: ServeOptions) -> None:
    """Refuse an address of the network that nobody could come in by, or anybody.

    Raises:
        WorkspaceError: nobody is invited yet.
    """
    if is_closed_house(workspace, options):
        raise WorkspaceError(
            f"{options.host} can be reached from other machines, and nobody has been given access. "
            "Call db.invite(name=...) first, which makes a token, or give auth=; or serve on "
            "127.0.0.1, and let others come in through ssh."
        )


def _auth_config(auth: Mapping[str, Any] | str | PathLike[str]) -> object:
    if isinstance(auth, Mapping):
        return auth
    try:
        return json.loads(Path(auth).read_bytes())
    except OSError as error:
        raise InvalidValueError(f"Cannot read {str(auth)!r}: {error.strerror}") from None
    except ValueError as error:
        raise InvalidValueError(f"{str(auth)!r} is no JSON: {error}") from None


def _doors(options: ServeOptions) -> Doors:
    known = Doors().allowed_hosts
    if options.public_url:
        known = (*known, urlsplit(options.public_url).hostname or "")
    # A name in a page's address proves nothing that a token does not; the list is for the loopback.
    hosts = known if is_loopback(options.host) else ("*",)
    return Doors(allowed_hosts=hosts, allowed_origins=options.allow_origins)


def _who(options: ServeOptions) -> str:
    if options.anonymous is None:
        return "for who brings a token: db.invite"
    return f"without a token as {options.anonymous.value}"


_open: weakref.WeakSet[Serving] = weakref.WeakSet()


def _close_all() -> None:
    for each in list(_open):
        each.close_for_good()


# Before Python ends its pools of threads, which a service needs to end its connections; functions
# registered with `atexit` run after that.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]  # noqa: SLF001
