"""Who is calling: the verified identity that `ctx.auth` shows to a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


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
    """Every other claim of the token, such as `name` or `email`, under its own name."""
