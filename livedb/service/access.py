"""Who may do what on a service: turns tokens into callers, and asks whether they may."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from livedb.clock import Clock, SystemClock
from livedb.errors import AuthenticationError
from livedb.functions.definition import FunctionKind
from livedb.identity import Identity
from livedb.protocol.messages import Authenticate


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request.

    Attributes:
        expires_s: seconds since the epoch from which this no longer holds; None for never.
    """

    identity: Identity | None = None
    is_admin: bool = False
    may_call: bool = True
    expires_s: float | None = None


class Access:
    """The doors of one service; safe to use from every thread."""

    def __init__(
        self,
        *,
        admin_keys: Sequence[str] = (),
        is_anonymous_allowed: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._admin_keys = tuple(admin_keys)
        self._clock = clock or SystemClock()
        self.anonymous = Caller(may_call=is_anonymous_allowed)

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now_ns() / 1e9

    def authenticate(self, request: Authenticate) -> Caller:
        """Who sends an Authenticate message; may block.

        Raises:
            AuthenticationError: the token proves nothing.
        """
        if request.token_type == "None":  # noqa: S105  # a word of the protocol
            return self.anonymous
        if request.token_type == "Admin":  # noqa: S105  # a word of the protocol
            return self._admin(request.value or "")
        return self._user(request.value or "")

    def from_header(self, authorization: str | None) -> Caller:
        """Who sends an HTTP request, by its `Authorization`; may block.

        Raises:
            AuthenticationError: it proves nothing.
        """
        if authorization is None:
            return self.anonymous
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            return self._user(token)
        if scheme.lower() == "convex":
            return self._admin(token)
        raise AuthenticationError(
            "The Authorization header must begin with 'Bearer' or 'Convex'",
            code="InvalidAuthHeader",
        )

    def _user(self, token: str) -> Caller:  # noqa: ARG002  # for who knows issuers
        raise AuthenticationError("This service knows no issuer of tokens")

    def _admin(self, key: str) -> Caller:
        known = [hmac.compare_digest(key.encode(), each.encode()) for each in self._admin_keys]
        if any(known):
            return Caller(is_admin=True)
        raise AuthenticationError("The admin key is not one of this service's")

    def holds(self, caller: Caller) -> bool:
        """Whether what a caller brought still holds."""
        return caller.expires_s is None or self.now_s() < caller.expires_s

    def is_admin(self, caller: Caller) -> bool:
        """Whether a caller sees internal functions and the service's own."""
        return caller.is_admin

    def require(self, caller: Caller, kind: FunctionKind) -> None:
        """Refuse a call that the caller may not make, of whatever function of that kind.

        Raises:
            AuthenticationError: the caller must say first who it is.
        """
        if not caller.may_call:
            raise AuthenticationError(
                f"This service lets nobody run {kind} functions without a token",
                code="InvalidAuthHeader",
            )
