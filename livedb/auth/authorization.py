"""What an `Authorization` header, or an Authenticate message, brings: read here, proven elsewhere.

    Bearer <JWT of an issuer, or an access token of ours>
    Convex <access token of ours, or an admin key>
    Convex <the same>:<base64 of a JSON identity to act as>

A key may have a prefix that ends in `|`, such as `prod:shop|`: Convex's tools put the deployment's
name there, and it says nothing here. Source: spec sync-protocol.md 10, 12.
"""

from __future__ import annotations

from dataclasses import dataclass

from livedb.auth.strict_json import decode_object
from livedb.errors import AuthenticationError, InvalidValueError
from livedb.identity import Identity
from livedb.limits import AUTHORIZATION_BYTES_MAX


@dataclass(frozen=True, slots=True)
class NoCredentials:
    """Nothing was brought."""


@dataclass(frozen=True, slots=True)
class UserToken:
    """A token that proves who is calling, or what they may do."""

    token: str

    def __repr__(self) -> str:
        return "UserToken(...)"  # credentials end up in no log


@dataclass(frozen=True, slots=True)
class AdminKey:
    """A key that proves what its bearer may do, and perhaps whom it acts as."""

    key: str
    acting_as: Identity | None = None

    def __repr__(self) -> str:
        return f"AdminKey(..., acting_as={self.acting_as!r})"


KEY_MARK = "|"
"""Stands between the name of a deployment and its admin key."""

Credentials = NoCredentials | UserToken | AdminKey


def parse_authorization(header: str | None) -> Credentials:
    """What a header brings; None where the request had none.

    Raises:
        AuthenticationError: it is none of the forms above.
    """
    if header is None:
        return NoCredentials()
    _check_size(header)
    scheme, _, rest = header.strip(" ").partition(" ")
    match scheme.lower():
        case "bearer":
            return parse_user_token(rest)
        case "convex":
            return _admin_key(rest)
    raise _refusal("it must begin with 'Bearer' or 'Convex'")


def parse_user_token(value: str) -> UserToken:
    """What an Authenticate message of type User brings.

    Raises:
        AuthenticationError: no token.
    """
    _check_size(value)
    return UserToken(_credential(value))


def parse_admin_key(value: str, acting_as: object = None) -> AdminKey:
    """What an Authenticate message of type Admin brings.

    Args:
        value: the key, in any form that it has in a header.
        acting_as: the identity beside it, an object as decoded from JSON; None for none.

    Raises:
        AuthenticationError: no key, or no identity.
    """
    _check_size(value)
    brought = _admin_key(value)
    return brought if acting_as is None else AdminKey(brought.key, _identity(acting_as))


def bare_key(key: str) -> str:
    """A key without the prefix that names a deployment."""
    return key.rpartition(KEY_MARK)[2]


def _admin_key(text: str) -> AdminKey:
    key, colon, encoded = bare_key(text).partition(":")
    if not colon:
        return AdminKey(_credential(key))
    document = decode_object(_credential(encoded))
    if document is None:
        raise _refusal("after the key and ':' it must hold the base64 of a JSON object")
    return AdminKey(_credential(key), _identity(document))


def _identity(document: object) -> Identity:
    try:
        return Identity.from_document(document)
    except InvalidValueError as error:
        raise _refusal(error.message) from error


def _credential(text: str) -> str:
    """A token or key as it was sent, without the space around it."""
    bare = text.strip(" ")
    if not bare:
        raise _refusal("there is no token or key in it")
    if not bare.isascii() or not bare.isprintable() or " " in bare:
        raise _refusal("a token or key has visible ASCII characters only")
    return bare


def _check_size(text: str) -> None:
    if len(text) > AUTHORIZATION_BYTES_MAX:
        raise _refusal(f"it is longer than {AUTHORIZATION_BYTES_MAX} bytes")


def _refusal(reason: str) -> AuthenticationError:
    return AuthenticationError(
        f"The Authorization was not understood: {reason}.", code="InvalidAuthHeader"
    )
