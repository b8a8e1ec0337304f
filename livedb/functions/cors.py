"""CORS of HTTP actions: what pages of other origins may do with a route, as a browser asks for it.

    @http.route(path="/messages", method="POST", cors=livedb.Cors(origins="http://localhost:5173"))

Headers only, and no I/O: the service answers a browser's question (its preflight) with them, and
adds them to what the handler answers. It keeps nobody out: a browser sends what needs no question
all the same, and only hides the answer from the page.

Source: the Fetch standard, "CORS protocol"; options as those of convex-helpers' `corsRouter`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from livedb.errors import RouteError

ANY = "*"

MAX_AGE_S = 600
"""Seconds a browser may remember what it was answered, unless a route says otherwise."""

_MAX_AGE_S_MAX = 86_400
"""A day: the longest that any browser remembers."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Which pages of other origins may call a route, for `cors=` of `http.route`.

    Attributes:
        origins: of the pages, such as "http://localhost:5173"; "*" is every page.
        headers: of a request that pages may set; "*" is every one, `Authorization` included.
        exposed_headers: of an answer that pages may read beside the harmless ones.
        credentials: whether a browser may send its cookies along. Not for every page.
        max_age: seconds a browser may remember this, 86,400 at most.

    Raises:
        RouteError: `code` InvalidCors; it contradicts itself, or names what no browser sends.
    """

    origins: Sequence[str] | str
    headers: Sequence[str] | str = ("Content-Type",)
    exposed_headers: Sequence[str] | str = ()
    credentials: bool = False
    max_age: int = MAX_AGE_S

    def __post_init__(self) -> None:
        for name in ("origins", "headers", "exposed_headers"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        if not self.origins:
            raise _invalid("origins names no page: give their origins, or '*' for every one")
        for origin in self.origins:
            _check_origin(origin)
        for name in ("headers", "exposed_headers"):
            for each in getattr(self, name):
                if not _TOKEN.fullmatch(each):
                    raise _invalid(f"{name}: {each!r} is no name of a header")
        if type(self.credentials) is not bool:
            raise _invalid(f"credentials is True or False, not {self.credentials!r}")
        if type(self.max_age) is not int or not 0 <= self.max_age <= _MAX_AGE_S_MAX:
            raise _invalid(
                f"max_age is a whole number of seconds from 0 to {_MAX_AGE_S_MAX:,}, "
                f"not {self.max_age!r}"
            )
        if self.credentials and ANY in self.origins:
            raise _invalid(
                "with credentials, every page on the internet could act as whoever visits it: "
                "name the origins instead of '*'"
            )
        if self.credentials and ANY in self.exposed_headers:
            raise _invalid("with credentials, '*' exposes no header: name them")

    def allows(self, origin: str) -> bool:
        """Whether pages of that origin are meant."""
        return ANY in self.origins or origin in self.origins

    def answer_headers(self, origin: str | None) -> dict[str, str]:
        """What an answer has beside its own headers.

        Args:
            origin: of the page that asked; None when no page did.
        """
        if ANY in self.origins:
            found = {"Access-Control-Allow-Origin": ANY}
        elif origin is None or not self.allows(origin):
            return {"Vary": "Origin"}  # a cache must not give this to those who are meant
        else:
            found = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        if self.credentials:
            found["Access-Control-Allow-Credentials"] = "true"
        if self.exposed_headers:
            found["Access-Control-Expose-Headers"] = ", ".join(self.exposed_headers)
        return found

    def preflight_headers(self, origin: str, method: str, asked: str | None) -> dict[str, str]:
        """The answer to a browser that asks whether a page which is meant may send a request.

        Args:
            method: of the request.
            asked: the names of its headers, as the browser has them; None when it has none.
        """
        found = self.answer_headers(origin)
        found.pop("Access-Control-Expose-Headers", None)
        found["Access-Control-Allow-Methods"] = method
        allowed = ", ".join(self.headers)
        if ANY in self.headers:  # spelled out, since '*' does not mean `Authorization`
            allowed = asked or ""
            found["Vary"] = "Origin, Access-Control-Request-Headers"
        if allowed:
            found["Access-Control-Allow-Headers"] = allowed
        return {**found, "Access-Control-Max-Age": str(self.max_age)}


def _texts(name: str, given: object) -> tuple[str, ...]:
    listed = (given,) if isinstance(given, str) else given
    if not isinstance(listed, (list, tuple, set, frozenset)) or not all(
        isinstance(each, str) for each in listed
    ):
        raise _invalid(f"{name} is a list of texts, not {given!r}")
    return tuple(listed)


def _check_origin(origin: str) -> None:
    """Refuse what no browser sends as a page's origin, with what it would send instead."""
    if origin == ANY:
        return
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _invalid(f"the origin {origin!r} is no URL: {error}") from None
    if not parts.scheme or not host:
        raise _invalid(f"{origin!r} is no origin: it is written as 'http://localhost:5173', or '*'")
    if ANY in host:
        raise _invalid(f"the origin {origin!r} never matches: '*' stands for every page, alone")
    shown = f"[{host}]" if ":" in host else host
    is_written = port is not None and port != _DEFAULT_PORTS.get(parts.scheme)
    sent = f"{parts.scheme}://{shown}{f':{port}' if is_written else ''}"
    if not sent.isascii():
        raise _invalid(f"the origin {origin!r} never matches: a browser writes its host in ASCII")
    if sent != origin:
        raise _invalid(f"the origin {origin!r} never matches: a browser says {sent!r}")


def _invalid(why: str) -> RouteError:
    return RouteError(f"Cors: {why}", code="InvalidCors")
