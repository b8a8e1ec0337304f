"""One fetch of an issuer's keys over HTTP, bounded in time, bytes, redirects and where it may go.

What answers is trusted to sign for users, but not to keep us waiting or to fill our memory: it may
be down, hang, dribble bytes, or be something else by now.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from livedb.auth.keys import KeySet, parse_key_set
from livedb.auth.providers import Provider, check_url, is_loopback
from livedb.clock import Clock
from livedb.errors import InvalidValueError
from livedb.limits import KEY_SET_BYTES_MAX, KEY_SET_REDIRECTS_MAX

if TYPE_CHECKING:
    # Loaded where it is used: it takes a fifth of a second, and most services fetch no key.
    import httpx

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class FetchError(Exception):
    """Why there are no keys; `is_transient` when asking again later may help."""

    def __init__(self, reason: str, *, is_transient: bool) -> None:
        super().__init__(reason)
        self.is_transient = is_transient


def fetch_keys(provider: Provider, clock: Clock, timeout_s: float) -> KeySet:
    """The keys that `provider` shows; blocks for about `timeout_s` at most.

    An issuer that sends the head of its answer byte by byte can take longer: who must not wait for
    that waits on another thread.

    Raises:
        FetchError: they cannot be had, now or at all.
    """
    import httpx

    # A proxy of the environment is for the world outside, not for this machine itself.
    with httpx.Client(trust_env=not _is_local(provider.keys_at), headers=_HEADERS) as client:
        return _Fetch(provider, client, clock, clock.monotonic_s() + timeout_s).run()


class _Fetch:
    """One attempt: a request, or two with discovery, and their redirects."""

    def __init__(
        self, provider: Provider, client: httpx.Client, clock: Clock, deadline_s: float
    ) -> None:
        self._provider = provider
        self._client = client
        self._clock = clock
        self._deadline_s = deadline_s

    def run(self) -> KeySet:
        url = self._provider.jwks_url or self._discover()
        try:
            return parse_key_set(self._get_json(url))
        except InvalidValueError as error:
            raise _final(f"{url} holds {error.message}") from error

    def _discover(self) -> str:
        """Where the issuer says that its keys are (OpenID Connect Discovery 1.0, section 4)."""
        url = self._provider.keys_at
        found = self._get_json(url)
        if not isinstance(found, dict):
            raise _final(f"{url} is no discovery document")
        issuer, jwks_url = found.get("issuer"), found.get("jwks_uri")
        if not isinstance(issuer, str) or not self._provider.is_issuer(issuer):
            raise _final(f"{url} speaks for the issuer {str(issuer)[:200]!r}")
        if not isinstance(jwks_url, str):
            raise _final(f"{url} names no 'jwks_uri'")
        self._check_target(jwks_url)
        return jwks_url

    def _check_target(self, url: str) -> None:
        """Refuse to be sent to this machine itself by an issuer that lives elsewhere."""
        try:
            check_url(url, "jwks_uri")
        except InvalidValueError as error:
            raise _final(error.message) from error
        if _is_local(url) and not _is_local(self._provider.issuer):
            raise _final(f"{url!r} is on this machine, and the issuer is not")

    def _get_json(self, url: str) -> Any:
        body = self._get(url)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _final(f"{url} is not JSON") from error

    def _get(self, url: str) -> bytes:
        import httpx

        for _ in range(KEY_SET_REDIRECTS_MAX + 1):
            try:
                with self._client.stream("GET", url, timeout=self._time_left(url)) as response:
                    if response.is_success:
                        return self._read(response)
                    target = self._redirect_of(response)
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                reason = f"{type(error).__name__}: {error}"
                raise _transient(f"{url} cannot be reached ({reason})") from error
            url = _redirected(url, target)
        raise _final(f"{url} redirects more than {KEY_SET_REDIRECTS_MAX} times")

    def _redirect_of(self, response: httpx.Response) -> str:
        """Where an answer without success points to."""
        status = response.status_code
        if status in {301, 302, 303, 307, 308} and "location" in response.headers:
            return response.headers["location"]
        if status >= 500 or status in {408, 425, 429}:
            raise _transient(f"{response.url} answered {status}")
        raise _final(f"{response.url} answered {status}")

    def _read(self, response: httpx.Response) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _final(f"{response.url} is compressed, which was not asked for")
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > KEY_SET_BYTES_MAX:
                raise _final(f"{response.url} is larger than {KEY_SET_BYTES_MAX} bytes")
            self._time_left(str(response.url))
        return bytes(body)

    def _time_left(self, url: str) -> float:
        """Seconds until the deadline, which is to come."""
        left_s = self._deadline_s - self._clock.monotonic_s()
        if left_s <= 0:
            raise _transient(f"{url} took too long")
        return left_s


def _is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _redirected(url: str, target: str) -> str:
    """Where a redirect leads, which is on the same server."""
    try:
        joined = urljoin(url, target)
        is_same_server = urlsplit(joined)[:2] == urlsplit(url)[:2]
    except ValueError:
        is_same_server = False
    if not is_same_server:
        raise _final(f"{url} redirects to another place, {target[:200]!r}")
    return joined


def _transient(reason: str) -> FetchError:
    return FetchError(reason, is_transient=True)


def _final(reason: str) -> FetchError:
    return FetchError(reason, is_transient=False)
