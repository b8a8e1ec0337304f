"""What a verified token says of its user, in the shape that Convex gives to functions.

Claims about the token rather than its user (`exp`, `aud`, `nonce`, ...) are left out: they differ
in the next token of the same user, and a live query that shows its identity would change with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from livedb.identity import Identity
from livedb.limits import INT_SAFE_MAX

_TEXT_FIELDS = {
    "name": "name",
    "given_name": "givenName",
    "family_name": "familyName",
    "nickname": "nickname",
    "preferred_username": "preferredUsername",
    "profile": "profileUrl",
    "picture": "pictureUrl",
    "website": "websiteUrl",
    "email": "email",
    "gender": "gender",
    "birthdate": "birthday",
    "zoneinfo": "timezone",
    "locale": "language",
    "phone_number": "phoneNumber",
}
"""OpenID Connect Core 1.0, section 5.1, and Convex's name for each."""
_FLAG_FIELDS = {"email_verified": "emailVerified", "phone_number_verified": "phoneNumberVerified"}

_STANDARD = frozenset([*_TEXT_FIELDS, *_FLAG_FIELDS, "address", "updated_at"])
_REGISTERED = frozenset(["iss", "sub", "aud", "exp", "nbf", "iat", "jti"])
"""RFC 7519, section 4.1."""
_OF_THE_LOGIN = frozenset(["nonce", "auth_time", "acr", "amr", "azp", "at_hash", "c_hash"])
"""OpenID Connect Core 1.0, sections 2 and 3.3.2.11."""


def identity_of(claims: Mapping[str, Any], *, is_custom: bool) -> Identity:
    """The user of a token whose `iss` and `sub` have been checked.

    A standard claim of the wrong type is left out. With `is_custom` every claim stands under its
    own name too, an object's fields as dotted ones (`properties.id`), as Convex gives those of a
    `customJwt` provider.
    """
    issuer, subject = claims["iss"], claims["sub"]
    left_out = _REGISTERED if is_custom else _REGISTERED | _OF_THE_LOGIN | _STANDARD
    others = {name: value for name, value in claims.items() if name not in left_out}
    fields = _as_javascript_reads(_dotted(others) if is_custom else others)
    fields.update(_standard_fields(claims))
    return Identity(
        token_identifier=f"{issuer}|{subject}",
        subject=subject,
        issuer=issuer,
        claims=MappingProxyType(fields),
    )


def _standard_fields(claims: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for claim, field in _TEXT_FIELDS.items():
        if isinstance(claims.get(claim), str):
            yield field, claims[claim]
    for claim, field in _FLAG_FIELDS.items():
        value = claims.get(claim)
        if isinstance(value, bool) or value in ("true", "false"):  # Apple and Cognito send text
            yield field, value in (True, "true")
    address = claims.get("address")
    formatted = address.get("formatted") if isinstance(address, Mapping) else address
    if isinstance(formatted, str):
        yield "address", formatted
    updated = _moment(claims.get("updated_at"))
    if updated is not None:
        yield "updatedAt", updated


def _moment(value: object) -> str | None:
    """`updated_at` as text: seconds since 1970 by the standard, text at Auth0."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC).isoformat()
        except (ValueError, OverflowError, OSError):
            return None
    return None


def _dotted(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims with an object's fields in its place; a name that is written out wins."""
    flat: dict[str, Any] = {}
    for name, value in claims.items():
        if isinstance(value, Mapping):
            for inner, item in _dotted(value).items():
                flat.setdefault(f"{name}.{inner}", item)
    flat.update({name: value for name, value in claims.items() if not isinstance(value, Mapping)})
    return flat


def _as_javascript_reads(value: Any) -> Any:
    """The JSON with whole numbers beyond 2**53 as floats, so that a function may store it."""
    if isinstance(value, Mapping):
        return {name: _as_javascript_reads(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_javascript_reads(item) for item in value]
    if isinstance(value, int) and abs(value) > INT_SAFE_MAX:
        return float(value)
    return value
