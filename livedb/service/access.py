"""Who may do what on a service: what a connection brings becomes a caller, and is asked about."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from livedb.auth.access import Caller, Permission, Role, lower, require
from livedb.auth.access_tokens import AccessTokens
from livedb.auth.authenticator import Authenticator
from livedb.auth.authorization import (
    Credentials,
    NoCredentials,
    parse_admin_key,
    parse_authorization,
    parse_user_token,
)
from livedb.auth.keysets import KeySets
from livedb.auth.providers import Provider
from livedb.auth.throttle import Throttle
from livedb.auth.tokens import Verifier
from livedb.clock import Clock
from livedb.errors import AuthenticationError, InvalidValueError, PermissionDeniedError
from livedb.functions.definition import FunctionKind
from livedb.protocol.messages import NO_VALUE, Authenticate, ProtocolError, decode_json
from livedb.service.audit import Audit, ip_of
from livedb.service.local_door import came_by_it, user_name
from livedb.service.vouching import Arrival, vouched_for

_PERMISSIONS: dict[FunctionKind, Permission] = {
    "query": Permission.QUERY,
    "mutation": Permission.CALL,
    "action": Permission.CALL,
    "http_action": Permission.CALL,
}


class Access:
    """The doors of one service, which closes them at its end; safe to use from every thread.

    Args:
        providers: who may vouch for users.
        tokens: the workspace's access tokens.
        admin_keys: further keys that open everything, as an operator sets them.
        anonymous: the role of who brings nothing; None lets nobody in without something.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        providers: Sequence[Provider] = (),
        tokens: AccessTokens | None = None,
        admin_keys: Sequence[str] = (),
        anonymous: Role | None = Role.MEMBER,
    ) -> None:
        self.tokens = tokens or AccessTokens(clock)
        for key in admin_keys:
            self.tokens.admit(key, Role.OWNER, "admin key")
        self._key_sets = KeySets(clock)
        self.throttle = Throttle(clock)
        """Addresses that send wrong tokens by HTTP, each a request; a sync connection ends."""
        self.authenticator = Authenticator(
            Verifier(providers, self._key_sets, clock), self.tokens, clock, anonymous=anonymous
        )
        self.anonymous: Caller | None = None
        """Who a client is that brings nothing; None is somebody who may do nothing."""
        if anonymous is not None:
            self.anonymous = self.authenticator.authenticate(NoCredentials())
        self.audit = Audit(clock)
        """Of whom it did not let in, and who asked for more than they may."""
        self._local = Caller(role=Role.OWNER, name=user_name())

    def close(self) -> None:
        """Let nobody in any more who must be vouched for; whoever waits for a key is let go."""
        self._key_sets.close()

    def arriving(self, scope: MutableMapping[str, Any]) -> Arrival:
        """Who a client is that brings nothing, by the door it came in (an ASGI scope)."""
        if not came_by_it(scope):
            return Arrival(caller=self.anonymous, ip=ip_of(scope))
        return vouched_for(scope) or Arrival(caller=self._local)

    def authenticate(self, request: Authenticate, arrival: Arrival) -> Caller | None:
        """Who sends an Authenticate message; without credentials, who arrived. May block.

        Raises:
            AuthenticationError: what it brings proves nothing.
            IdentityProviderError: who issued it cannot be asked just now.
        """
        try:
            return self._caller(_credentials(request), arrival)
        except AuthenticationError as error:
            self.audit.refused(error.code, who=arrival.address, what="sync")
            raise

    def from_header(self, authorization: str | None, arrival: Arrival) -> Caller | None:
        """Who sends an HTTP request, by its `Authorization`; may block.

        Raises: as `authenticate`.
        """
        return self._caller(parse_authorization(authorization), arrival)

    def _caller(self, credentials: Credentials, arrival: Arrival) -> Caller | None:
        if isinstance(credentials, NoCredentials):
            return arrival.caller
        caller = self.authenticator.authenticate(credentials)
        return replace(caller, role=lower(caller.role, arrival.most))

    def holds(self, caller: Caller | None) -> bool:
        """Whether a caller may still act: not expired, not revoked meanwhile."""
        return caller is None or self.authenticator.holds(caller)

    @staticmethod
    def is_admin(caller: Caller | None) -> bool:
        """Whether a caller sees internal functions, SQL and tables."""
        return caller is not None and caller.is_admin

    def require(self, caller: Caller | None, permission: Permission) -> None:
        """Let a caller go on only if it has a permission.

        Raises:
            AuthenticationError: it brought nothing, and something is needed.
            PermissionDeniedError: its role does not allow it.
        """
        if caller is None:
            raise AuthenticationError(
                "This workspace lets nobody in without a token. Bring one, or serve it with "
                "--anonymous.",
                code="InvalidAuthHeader",
            )
        try:
            require(caller, permission)
        except PermissionDeniedError as error:
            self.audit.refused(error.code, who=caller.name, what=permission)
            raise

    def require_kind(self, caller: Caller | None, kind: FunctionKind) -> None:
        """Let a caller go on only if it may call functions of a kind.

        Raises: as `require`.
        """
        self.require(caller, _PERMISSIONS[kind])


def _credentials(request: Authenticate) -> Credentials:
    if request.token_type == "None":  # noqa: S105  # a word of the protocol
        return NoCredentials()
    value = request.value or ""
    if request.token_type == "User":  # noqa: S105  # a word of the protocol
        return parse_user_token(value)
    if request.token_type != "Admin":  # noqa: S105  # a word of the protocol
        raise AuthenticationError(f"There are no tokens of type {request.token_type[:40]!r}")
    # Two names of one field: npm and Rust clients have one each.
    named = request.acting_as if request.impersonating is NO_VALUE else request.impersonating
    try:
        acting_as: object = decode_json(named)
    except (ProtocolError, InvalidValueError):
        raise AuthenticationError("The identity to act as is no JSON object") from None
    return parse_admin_key(value, acting_as)
