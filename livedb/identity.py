"""Who is calling, as `ctx.auth` shows it to a function, and from where, as `ctx.meta` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from livedb.errors import InvalidValueError

_OWN_FIELDS = ("tokenIdentifier", "subject", "issuer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A verified caller. Two identities are the same caller when `token_identifier` is equal.

    Source: Convex's `UserIdentity`; the token identifier is `issuer|subject` there too.
    """

    token_identifier: str
    """Stable and unique over all issuers; what to store in a document."""
    subject: str
    """The user's name at the issuer."""
    issuer: str
    """Who vouches for the user."""
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    """Every other field that a function sees: standard claims under Convex's names, such as
    `givenName` or `emailVerified`, and all others of the token under their own."""

    def to_document(self) -> dict[str, Any]:
        """The fields that `ctx.auth.get_user_identity()` gives, a dict of the caller's own."""
        return {
            **_copied(self.claims),
            # Last, so that no claim passes for one of them.
            "tokenIdentifier": self.token_identifier,
            "subject": self.subject,
            "issuer": self.issuer,
        }

    @classmethod
    def from_document(cls, document: object) -> Identity:
        """The identity that an administrator names to act as: the inverse of `to_document`.

        `tokenIdentifier` may be left out where `issuer` and `subject` are given, and the other way
        round. It proves nothing: whoever calls this has checked that the caller may name anybody.

        Raises:
            InvalidValueError: no object, or one that names nobody.
        """
        if not isinstance(document, Mapping):
            raise InvalidValueError("the identity to act as must be an object", code=_BAD_IDENTITY)
        given = {name: document[name] for name in _OWN_FIELDS if name in document}
        for name, value in given.items():
            if not isinstance(value, str) or not value:
                raise InvalidValueError(
                    f"{name!r} of the identity to act as must be text", code=_BAD_IDENTITY
                )
        issuer, bar, subject = given.get("tokenIdentifier", "").partition("|")
        issuer, subject = given.get("issuer", issuer), given.get("subject", subject if bar else "")
        if not issuer or not subject:
            raise InvalidValueError(
                "the identity to act as needs 'tokenIdentifier' (issuer|subject), or 'issuer' and "
                "'subject'",
                code=_BAD_IDENTITY,
            )
        return cls(
            token_identifier=given.get("tokenIdentifier", f"{issuer}|{subject}"),
            subject=subject,
            issuer=issuer,
            claims=MappingProxyType(
                {name: value for name, value in document.items() if name not in _OWN_FIELDS}
            ),
        )


_BAD_IDENTITY = "InvalidIdentity"


def _copied(value: Any) -> Any:
    """A copy of JSON that its receiver may change."""
    if isinstance(value, Mapping):
        return {name: _copied(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value


class Origin(NamedTuple):
    """From where a call came to a service; None is what is not known.

    Attributes:
        ip: the address of the client, as `127.0.0.1`; None of one that came by the local door.
        user_agent: what the client says it is, and nobody has checked.
    """

    ip: str | None = None
    user_agent: str | None = None


NOWHERE = Origin()
"""Of a call that no request made: a cell's, a scheduled function's."""
