"""Who may do what on a service: turns tokens into callers, and asks whether they may."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from livedb.errors import AuthenticationError, FunctionNotFoundError, PermissionDeniedError
from livedb.functions.definition import FunctionDefinition
from livedb.identity import Identity
from livedb.protocol.messages import Authenticate


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request."""

    identity: Identity | None = None
    is_admin: bool = False
    may_call: bool = True


class Access:
    """The doors of one service."""

    def __init__(
        self, *, admin_keys: Sequence[str] = (), is_anonymous_allowed: bool = True
    ) -> None:
        self._admin_keys = tuple(admin_keys)
        self.anonymous = Caller(may_call=is_anonymous_allowed)

    def authenticate(self, request: Authenticate) -> Caller:
        """Who sends an Authenticate message."""
        if request.token_type == "None":  # noqa: S105  # a word of the protocol
            return self.anonymous
        is_admin = request.token_type == "Admin"  # noqa: S105  # a word of the protocol
        if is_admin and self._is_admin_key(request.value or ""):
            return Caller(is_admin=True)
        raise AuthenticationError("The token is not one that this service knows")

    def _is_admin_key(self, key: str) -> bool:
        return any(hmac.compare_digest(key.encode(), each.encode()) for each in self._admin_keys)

    def is_admin(self, caller: Any) -> bool:
        """Whether a caller sees internal functions."""
        return isinstance(caller, Caller) and caller.is_admin

    def require_admin(self, caller: Any) -> None:
        """Refuse what only owners and editors may do."""
        if not self.is_admin(caller):
            raise PermissionDeniedError(
                "Only owners and editors may use SQL, tables and definitions on this service"
            )

    def require_call(self, caller: Any, function: FunctionDefinition) -> None:
        """Refuse a call that the caller may not make."""
        if not caller.may_call:
            raise FunctionNotFoundError(f"Sign in to call {function.name!r}")
