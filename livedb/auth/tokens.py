"""Tokens of an issuer, JSON Web Tokens, checked.

The order matters: size before anything; then what the token claims to be, which picks a configured
issuer and one of its keys, and nothing else; then the signature; then everything that the claims
say. Nothing in the token's header names a key or an algorithm that the configuration does not:
`jku`, `x5u`, `jwk` and `x5c` are not read at all.

No message holds the token, or any part of it but the issuer's name.

Source: RFC 7519; RFC 8725 (best practices); spec sync-protocol.md 10.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from livedb.auth.claims import identity_of
from livedb.auth.keys import ALGORITHMS, algorithm_named
from livedb.auth.keysets import KeySets
from livedb.auth.providers import Provider
from livedb.auth.strict_json import decode_object
from livedb.clock import Clock
from livedb.errors import AuthenticationError
from livedb.identity import Identity
from livedb.limits import TOKEN_BYTES_MAX, TOKEN_LEEWAY_S

_is_jwt = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedToken:
    """Who a token is for, and until when."""

    identity: Identity
    expires_s: float
    """Seconds since the Unix epoch, leeway included; from then on the identity is nobody's."""


class Verifier:
    """Checks tokens of the configured issuers; safe to use from every thread."""

    def __init__(self, providers: Sequence[Provider], key_sets: KeySets, clock: Clock) -> None:
        self._providers = tuple(providers)
        self._key_sets = key_sets
        self._clock = clock

    def verify(self, token: str) -> VerifiedToken:
        """The identity that `token` proves.

        Raises:
            AuthenticationError: it proves none; `code` says why.
            IdentityProviderError: its issuer's keys cannot be fetched just now.
        Cost: about 0.2 ms; a fetch when its key is not known.
        """
        header, claims = _parse(token)
        provider = self._provider_of(claims)
        algorithm = _algorithm_of(header, provider)
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise _refusal("the name of its key is no text")
        key = self._key_sets.key(provider, kid, algorithm)
        if not key.has_signed(token.encode("ascii")):
            raise _refusal("its signature is not the issuer's")
        expires_s = self._check_times(claims)
        identity = identity_of(claims, is_custom=provider.is_custom)
        return VerifiedToken(identity=identity, expires_s=expires_s)

    def _provider_of(self, claims: dict[str, Any]) -> Provider:
        """The provider that the token is from, if its signature says so too."""
        issuer, subject = claims.get("iss"), claims.get("sub")
        if not isinstance(issuer, str) or not isinstance(subject, str) or not issuer or not subject:
            raise _refusal(
                "it names no issuer ('iss') or no user ('sub')", code="InvalidAuthHeader"
            )
        of_issuer = [provider for provider in self._providers if provider.is_issuer(issuer)]
        audiences = _audiences(claims.get("aud"))
        for provider in of_issuer:
            if provider.takes(audiences):
                return provider
        if of_issuer:
            raise _refusal(
                f"it is for another application ('aud') than the 'applicationID' configured for "
                f"{of_issuer[0].issuer!r}",
                code="NoAuthProvider",
            )
        raise _refusal("its issuer ('iss') is not in the auth configuration", code="NoAuthProvider")

    def _check_times(self, claims: dict[str, Any]) -> float:
        """When the token expires, if it holds now."""
        now_s = self._clock.now_ns() / 1e9
        expires_s = _moment(claims, "exp")
        if expires_s is None:
            raise _refusal("it never expires ('exp')", code="InvalidAuthHeader")
        expires_s += TOKEN_LEEWAY_S
        if expires_s <= now_s:
            raise _refusal("it has expired", code="IdTokenExpired")
        for name in ("nbf", "iat"):
            begins_s = _moment(claims, name)
            if begins_s is not None and begins_s - TOKEN_LEEWAY_S > now_s:
                raise _refusal(
                    f"it is not valid yet ({name!r}); compare the clocks of both machines"
                )
        return expires_s


def _parse(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as the token has them, of which nothing is true yet."""
    if len(token) > TOKEN_BYTES_MAX:
        raise _refusal(f"it is longer than {TOKEN_BYTES_MAX} bytes", code="InvalidAuthHeader")
    parts = _is_jwt(token)
    if parts is None:
        raise _refusal(
            "it is no key of this workspace and no JSON Web Token", code="InvalidAuthHeader"
        )
    return _decode(parts[1], "header"), _decode(parts[2], "payload")


def _decode(part: str, name: str) -> dict[str, Any]:
    decoded = decode_object(part)
    if decoded is None:
        raise _refusal(
            f"its {name} is no JSON object, or no unambiguous one", code="InvalidAuthHeader"
        )
    return decoded


def _algorithm_of(header: dict[str, Any], provider: Provider) -> str:
    if "crit" in header or "b64" in header:
        raise _refusal("its header asks for extensions that are not supported")
    algorithm = algorithm_named(header.get("alg"))
    if algorithm not in provider.algorithms:
        taken = ", ".join(name for name in ALGORITHMS if name in provider.algorithms)
        raise _refusal(
            f"it is not signed with {taken}, which {provider.issuer!r} is configured for"
        )
    return algorithm


def _audiences(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _moment(claims: dict[str, Any], name: str) -> float | None:
    """A claim of seconds since the Unix epoch; None where it is absent."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refusal(f"{name!r} is no moment", code="InvalidAuthHeader")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise _refusal(f"{name!r} is no moment", code="InvalidAuthHeader")
    return seconds


def _refusal(reason: str, *, code: str | None = None) -> AuthenticationError:
    return AuthenticationError(f"The token was not accepted: {reason}.", code=code)
