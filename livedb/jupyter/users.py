"""Who a user of the Jupyter server is to a workspace, and what they may do there at most.

A Jupyter server of its own knows one secret, and whoever has it is its user. A hub, or an identity
provider of the operator's, names users. What they may do is the least of three: what the settings
give them, what the server's authorizer allows on the resource `livedb`, and, once they bring a
token of the workspace, what that allows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from livedb.auth.access import Caller, Role, lower
from livedb.identity import Identity
from livedb.service.local_door import user_name

if TYPE_CHECKING:
    from jupyter_server.auth import User

RESOURCE = "livedb"
"""What an authorizer of the server is asked about."""

ACTIONS: tuple[tuple[str, Role], ...] = (
    ("execute", Role.OWNER),
    ("write", Role.MEMBER),
    ("read", Role.VIEWER),
)
"""Of an authorizer's actions the strongest that is allowed, and the most it lets one be here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRules:
    """What users of one server are.

    Attributes:
        own_name: the server's own user, where users have names; None where whoever has the
            server's secret is that.
        own_role: of the server's own user.
        role: of all others.
        roles: of users by name, before both.
        issuer: who vouches for names, as functions see it.
    """

    own_name: str | None
    own_role: Role
    role: Role
    roles: Mapping[str, Role] = field(default_factory=lambda: MappingProxyType({}))
    issuer: str

    def caller(self, user: User, most: Role) -> Caller:
        """Who a user is who may do so much."""
        is_own = self.own_name in {None, user.username}
        shown = user.display_name or user.name or user.username
        if self.own_name is None:
            # Such a server makes a name up for each browser, which proves nothing.
            subject, name = user_name(), shown
        else:
            # By this the log and others know them, so it is not one that they may choose.
            subject = name = user.username
        given = self.roles.get(subject, self.own_role if is_own else self.role)
        identity = self._identity(user, subject, shown)
        return Caller(role=lower(given, most), name=name, identity=identity)

    def _identity(self, user: User, subject: str, shown: str) -> Identity:
        claims: dict[str, Any] = {"name": shown, "preferredUsername": subject}
        if user.avatar_url:
            claims["pictureUrl"] = user.avatar_url
        return Identity(
            token_identifier=f"{self.issuer}|{subject}",
            subject=subject,
            issuer=self.issuer,
            claims=MappingProxyType(claims),
        )


def own_name_of(provider: object) -> str | None:
    """The server's own user, where users have names; None where one secret is all there is."""
    from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider

    if name := os.environ.get("JUPYTERHUB_USER"):
        return name
    # Of a provider that is not Jupyter's own it is not known whom it lets in: they are named, and
    # none of them is taken for the server's user.
    has_one_secret = type(provider) in {IdentityProvider, PasswordIdentityProvider}
    return None if has_one_secret else ""


def authorization_of(headers: Mapping[str, str], *, opened_the_server: bool) -> str | None:
    """What a request brings for the workspace itself, beside what let it into the server.

    Args:
        headers: the request's.
        opened_the_server: whether its `Authorization` is what the server let it in by.
    """
    own = headers.get("X-Livedb-Authorization")
    if own is not None:
        return own
    given = headers.get("Authorization")
    scheme = (given or "").partition(" ")[0].lower()
    if scheme == "convex" or (scheme == "bearer" and not opened_the_server):
        return given
    return None
