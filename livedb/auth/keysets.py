"""The keys of every issuer, kept in memory and fetched when they are missing or old.

Theory of operation. Each issuer has a set of keys (or none yet), when it came, and at most one
fetch on its way, which runs on a thread of its own. Whoever needs a key looks first:

- found, and the set is fresh: used.
- found, and the set is old: used, and a fetch starts behind the caller's back. So an issuer that
  hangs or is down delays nobody whose key is known, until the set is a day old.
- not found: the caller waits for the fetch, its own or the one on its way, and looks again. So a
  key that the issuer has just begun to use is found at once.

Between two fetches of an issuer lies a pause, whatever the outcome of the first: tokens with
made-up `kid`s cost the issuer one request in that time, and us nothing. A fetch that hangs beyond
its time is waited for no longer and not joined by another: it holds one thread, not one more for
each caller.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from livedb.auth.fetching import FetchError, fetch_keys
from livedb.auth.keys import KeySet, VerificationKey
from livedb.auth.providers import Provider
from livedb.clock import Clock
from livedb.errors import AuthenticationError, ClosedError, IdentityProviderError
from livedb.limits import KEY_SET_FETCH_S, KEY_SET_FRESH_S, KEY_SET_PAUSE_S, KEY_SET_STALE_S

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Fetching:
    """A fetch on its way."""

    deadline_s: float
    """Monotonic time until which it is waited for."""
    done: Event = field(default_factory=Event)


@dataclass(slots=True, eq=False)
class _Issuer:
    """What is known of one place where keys are."""

    keys: KeySet | None = None
    came_s: float = 0.0
    """Monotonic time of `keys`."""
    next_fetch_s: float | None = None
    """Monotonic time until which no other fetch begins; None before the first."""
    fetching: _Fetching | None = None
    failure: FetchError | None = None
    """Why the last fetch brought nothing."""


class KeySets:
    """The keys of all issuers; safe to use from every thread. Close it when done."""

    def __init__(self, clock: Clock, *, timeout_s: float = KEY_SET_FETCH_S) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._lock = Lock()
        """Guards all below; held for moments, never while something is fetched."""
        self._issuers: dict[str, _Issuer] = {}
        self._is_closed = False

    def key(self, provider: Provider, kid: str | None, algorithm: str) -> VerificationKey:
        """The key of `provider` named `kid` for `algorithm`.

        Raises:
            AuthenticationError: the issuer has no such key, or what it offers is no key set.
            IdentityProviderError: the issuer cannot be asked just now.
            ClosedError: closed.
        Cost: a look-up; a fetch when the key is not known, at most `timeout_s`.
        """
        if provider.keys is not None:
            return _found(provider.keys.find(kid, algorithm), provider)
        with self._lock:
            issuer = self._issuers.setdefault(provider.keys_at, _Issuer())
            key = self._find(issuer, kid, algorithm)
            if key is not None and self._age(issuer) <= KEY_SET_FRESH_S:
                return key
            fetching = self._start_if_due(issuer, provider)
        if key is not None:
            return key
        if fetching is not None:
            fetching.done.wait(max(0.0, fetching.deadline_s - self._clock.monotonic_s()))
        with self._lock:
            if self._is_closed:
                raise ClosedError("What checks tokens was closed while a key was fetched.")
            if not self._has_keys(issuer):
                raise _refusal(provider, issuer.failure or _LATE)
            return _found(self._find(issuer, kid, algorithm), provider)

    def close(self) -> None:
        """Fetch no more; whoever waits for a key gets a ClosedError."""
        with self._lock:
            self._is_closed = True
            for issuer in self._issuers.values():
                if issuer.fetching is not None:
                    issuer.fetching.done.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _find(self, issuer: _Issuer, kid: str | None, algorithm: str) -> VerificationKey | None:
        usable = issuer.keys if self._has_keys(issuer) else None
        return None if usable is None else usable.find(kid, algorithm)

    def _has_keys(self, issuer: _Issuer) -> bool:
        return issuer.keys is not None and self._age(issuer) <= KEY_SET_STALE_S

    def _age(self, issuer: _Issuer) -> float:
        return self._clock.monotonic_s() - issuer.came_s

    def _start_if_due(self, issuer: _Issuer, provider: Provider) -> _Fetching | None:
        """The fetch on its way, begun here if the pause is over; None within the pause."""
        if self._is_closed:
            raise ClosedError("What checks tokens has been closed.")
        now_s = self._clock.monotonic_s()
        if issuer.fetching is None and (
            issuer.next_fetch_s is None or now_s >= issuer.next_fetch_s
        ):
            issuer.next_fetch_s = now_s + KEY_SET_PAUSE_S
            fetching = _Fetching(deadline_s=now_s + self._timeout_s)
            work = (issuer, fetching, provider)
            Thread(target=self._fetch, args=work, name="livedb-keys", daemon=True).start()
            # Only now: a thread that could not be started must not be waited for. It cannot have
            # ended before, since it needs the lock for that.
            issuer.fetching = fetching
        return issuer.fetching

    def _fetch(self, issuer: _Issuer, fetching: _Fetching, provider: Provider) -> None:
        """A fetch, on its own thread."""
        keys, failure = None, None
        try:
            keys = fetch_keys(provider, self._clock, self._timeout_s)
        except FetchError as error:
            failure = error
            _log.warning("No keys from the issuer %r: %s", provider.issuer, error)
        except Exception as error:  # noqa: BLE001  # a shell: whoever waits hears of it, whatever it was
            _log.exception("Fetching the keys of the issuer %r failed", provider.issuer)
            failure = FetchError(f"unexpected {type(error).__name__}", is_transient=True)
        with self._lock:
            issuer.fetching, issuer.failure = None, failure
            if keys is not None:
                issuer.keys, issuer.came_s = keys, self._clock.monotonic_s()
        fetching.done.set()


_LATE = FetchError("it has not answered in time", is_transient=True)


def _found(key: VerificationKey | None, provider: Provider) -> VerificationKey:
    if key is None:
        raise AuthenticationError(
            f"The token was not accepted: it names a key that its issuer {provider.issuer!r} does "
            f"not show."
        )
    return key


def _refusal(
    provider: Provider, failure: FetchError
) -> AuthenticationError | IdentityProviderError:
    reason = f"The keys of the issuer {provider.issuer!r} cannot be had: {failure}."
    if failure.is_transient:
        return IdentityProviderError(f"{reason} Try again in a moment.")
    return AuthenticationError(
        f"{reason} Whoever runs the service should check its auth configuration.",
        code="AuthProviderDiscoveryFailed",
    )
