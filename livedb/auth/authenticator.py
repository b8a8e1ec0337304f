"""From what a caller brings to who they are: the one door of the service."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from livedb.auth.access import Caller, Role
from livedb.auth.access_tokens import PREFIX, AccessTokens
from livedb.auth.authorization import (
    KEY_MARK,
    AdminKey,
    Credentials,
    NoCredentials,
    UserToken,
    bare_key,
)
from livedb.auth.tokens import Verifier
from livedb.clock import Clock
from livedb.errors import AuthenticationError, PermissionDeniedError
from livedb.identity import Identity


class Authenticator:
    """Checks what callers bring; safe to use from every thread.

    Args:
        verifier: checks tokens of issuers.
        access_tokens: those of the workspace, admin keys included.
        clock: says what has expired.
        anonymous: the role of who brings nothing; None lets nobody in without something.
    """

    def __init__(
        self,
        verifier: Verifier,
        access_tokens: AccessTokens,
        clock: Clock,
        *,
        anonymous: Role | None = None,
    ) -> None:
        self._verifier = verifier
        self._access_tokens = access_tokens
        self._clock = clock
        self._anonymous = anonymous

    def authenticate(self, credentials: Credentials) -> Caller:
        """Who brings `credentials`.

        Raises:
            AuthenticationError: they prove nothing, or there are none and some are needed.
            PermissionDeniedError: the key is good, and not for acting as somebody.
            IdentityProviderError: the token's issuer cannot be asked just now.
        Cost: about 0.2 ms for a token of an issuer, 5 us for one of ours; a fetch, at most
            `KEY_SET_FETCH_S`, when an issuer's key is not known.
        """
        match credentials:
            case NoCredentials():
                return self._without_credentials()
            case UserToken(token):
                # Whoever connects has one word for a key and for a user's token. No JWT has the
                # mark that stands between a deployment's name and its key; an operator's key may
                # look like anything, so those given out are asked.
                key = bare_key(token)
                is_marked = token.startswith(PREFIX) or KEY_MARK in token
                is_ours = is_marked or self._access_tokens.has(key)
                return self._holder(key) if is_ours else self._user(token)
            case AdminKey(key, acting_as):
                return self._admin(key, acting_as)
        assert_never(credentials)

    def holds(self, caller: Caller) -> bool:
        """Whether what `caller` brought still holds: not expired, not revoked meanwhile."""
        if caller.expires_s is not None and self._clock.now_ns() / 1e9 >= caller.expires_s:
            return False
        return caller.token_id is None or self._access_tokens.is_good(caller.token_id)

    def _without_credentials(self) -> Caller:
        if self._anonymous is None:
            raise AuthenticationError(
                "This workspace lets nobody in without a token. Bring one as 'Authorization: "
                "Bearer ...', or serve with --anonymous."
            )
        return Caller(role=self._anonymous, name="anonymous")

    def _user(self, token: str) -> Caller:
        verified = self._verifier.verify(token)
        return Caller(
            role=Role.MEMBER,
            name=_name_of(verified.identity),
            identity=verified.identity,
            expires_s=verified.expires_s,
        )

    def _holder(self, token: str) -> Caller:
        known = self._access_tokens.find(token)
        expires_s = None if known.expires_ns is None else known.expires_ns / 1e9
        return Caller(role=known.role, name=known.name, expires_s=expires_s, token_id=known.id)

    def _admin(self, key: str, acting_as: Identity | None) -> Caller:
        """Whoever has a key; only an administrator may be somebody else besides."""
        caller = self._holder(key)
        if acting_as is None:
            return caller
        if not caller.is_admin:
            raise PermissionDeniedError(
                f"{caller.name!r} is here as {caller.role.value!r} and may not act as a user."
            )
        return replace(caller, identity=acting_as)


def _name_of(identity: Identity) -> str:
    name = identity.claims.get("name") or identity.claims.get("email")
    return name if isinstance(name, str) else identity.subject
