"""Where a service is, and what opens the door before it: the login of a Jupyter server.

    http://host:3210                                     a service
    http://host:3210#token=ldb_e_..                      the link of an invitation
    http://host:8888/user/ana/livedb/shared/birds        a workspace behind a Jupyter server
    http://host:8888/user/ana/livedb/shared/birds?token=..    the same, with the server's token
    unix:/path                                           a local door

The token of a Jupyter server opens the server, a token of livedb the workspace in it. Who has one
may need no other: the server says who its users are.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from livedb.errors import AuthenticationError, InvalidValueError, LivedbError, WorkspaceError

_PREFIX = "ldb_"
"""With which access tokens begin."""

_SCHEMES = frozenset({"http", "https", "ws", "wss"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a service is.

    Attributes:
        url: without secrets.
        token: of livedb; never shown.
        jupyter_token: of the Jupyter server before it; never shown.
    """

    url: str
    token: str | None = None
    jupyter_token: str | None = None

    @classmethod
    def of(cls, url: str, *, token: str | None = None, jupyter_token: str | None = None) -> Address:
        """The address that a URL and tokens beside it name.

        A token beside the URL of a Jupyter server is that of the server, unless it is plainly one
        of livedb or of an issuer.

        Raises:
            InvalidValueError: the URL is one of another kind, or asks for something besides.
        """
        if url.startswith("unix:"):
            return cls(url=url, token=token)
        bare, _, in_link = url.partition("#token=")
        parts = urlsplit(bare)
        if parts.scheme not in _SCHEMES or not parts.netloc:
            shown = urlunsplit(parts._replace(query=""))
            raise InvalidValueError(
                f"The address of a service begins with http:// or https://, and {shown!r} does "
                "not. A workspace in a folder is opened with livedb.open(path)."
            )
        asked = dict(parse_qsl(parts.query, keep_blank_values=True))
        in_query = asked.pop("token", None)
        if asked:
            raise InvalidValueError(
                f"The address of a workspace has no {', '.join(map(repr, asked))} after its '?'; "
                "it is what comes before"
            )
        token = token or in_link or None
        jupyter_token = jupyter_token or in_query or None
        url = urlunsplit(parts._replace(query=""))
        if token and not jupyter_token and is_behind_jupyter(url) and not _is_of_livedb(token):
            token, jupyter_token = None, token
        return cls(url=url, token=token, jupyter_token=jupyter_token)

    def __repr__(self) -> str:
        return f"Address({self.url!r}, ...)"

    @property
    def with_login(self) -> str:
        """The URL with the Jupyter server's token, as `of` reads it; not to be shown."""
        if self.jupyter_token is None:
            return self.url
        return f"{self.url}?{urlencode({'token': self.jupyter_token})}"

    @property
    def headers(self) -> dict[str, str]:
        """What opens the Jupyter server, for every request."""
        if self.jupyter_token is None:
            return {}
        return {"Authorization": f"token {self.jupyter_token}"}


def is_behind_jupyter(url: str) -> bool:
    """Whether the path of a URL is that of a workspace on a Jupyter server."""
    return "livedb" in urlsplit(url).path.split("/")


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_of_livedb(token: str) -> bool:
    """Whether a token is one of a workspace (`name|key`, for an admin key) or a JWT."""
    return token.startswith(_PREFIX) or "|" in token or token.count(".") == 2


def refusal_of(status: int, code: str | None, message: str) -> LivedbError | None:
    """What is raised when a request to connect is answered so; None when another may do better."""
    if status in {401, 403}:
        return AuthenticationError(message, code=code)
    if code == "NoWorkspace":
        return WorkspaceError(message, code=code)
    return None
