"""Which headers pass between a client of a Jupyter server and a workspace's service.

What clients of livedb and Convex say is known, so those headers are listed. An HTTP action is the
user's own, so all that a client says to it is passed on but what is between two hops or the
server's; of its answer, what describes the answer, and names that begin with `X-`. The answer comes
from the Jupyter server's own origin: it may set no cookies there, and let no other page read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_ASKED = frozenset(
    {
        "accept", "content-type", "convex-client", "digest", "if-none-match", "if-range", "range",
        "user-agent",
    }
)  # fmt: skip

_HOPS = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
"""Between two hops (RFC 9110); what `Connection` names is, too."""

_SERVERS = frozenset(
    {"accept-encoding", "authorization", "content-length", "cookie", "expect", "forwarded", "host"}
)
"""Written anew, or secrets and words of the Jupyter server and what stands before it."""

_SERVERS_BEGIN = ("proxy-", "x-forwarded-", "x-livedb-", "x-xsrftoken", "x-real-ip", "x-scheme")

_ANSWERED = frozenset(
    {
        "accept-ranges", "allow", "cache-control", "content-disposition", "content-length",
        "content-range", "content-type", "digest", "etag", "retry-after",
    }
)  # fmt: skip

_ANSWERED_BY_SITE = _ANSWERED | {
    "age", "content-encoding", "content-language", "content-location", "expires", "last-modified",
    "location", "vary",
}  # fmt: skip

_RULES_OF_PAGES = (
    "x-content-type-options", "x-dns-prefetch-control", "x-frame-options", "x-jupyter",
    "x-livedb-", "x-permitted-cross-domain-policies", "x-xss-protection",
)  # fmt: skip
"""How a browser takes pages of an origin; the origin is the Jupyter server's."""

Headers = list[tuple[str, str]]


def asked(headers: Mapping[str, str]) -> Headers:
    """Of a request to the service."""
    return [(name, headers[name]) for name in headers if name.lower() in _ASKED]


def asked_of_site(headers: Mapping[str, str]) -> Headers:
    """Of a request to an HTTP action."""
    hops = _HOPS | {each.strip().lower() for each in headers.get("Connection", "").split(",")}
    return [
        (name, headers[name])
        for name in headers
        if not (lower := name.lower()).startswith(_SERVERS_BEGIN)
        and lower not in hops
        and lower not in _SERVERS
    ]


def answered(headers: Iterable[tuple[str, str]], *, is_of_site: bool) -> Headers:
    """Of an answer, whose names are in lower case."""
    if not is_of_site:
        return [each for each in headers if each[0] in _ANSWERED]
    return [
        (name, value)
        for name, value in headers
        if name in _ANSWERED_BY_SITE
        or (name.startswith("x-") and not name.startswith(_RULES_OF_PAGES))
    ]
