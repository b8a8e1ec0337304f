"""What a caller may do: four roles, and the one check before each act.

| role | may |
|---|---|
| owner | everything, inviting, revoking and backups included |
| editor | everything but that: functions, SQL, schema, load; this is running code, as in a kernel |
| member | public functions |
| viewer | public queries |

Whoever comes with a token of an issuer is a member: what each user sees and changes is for the
functions to say, which are given the identity. Source: DESIGN 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from livedb.errors import PermissionDeniedError
from livedb.identity import Identity
from livedb.wording import listed


class Permission(StrEnum):
    """What is asked for; the value completes "may not ..."."""

    QUERY = "run queries"
    CALL = "run mutations and actions"
    CALL_INTERNAL = "run internal functions"
    DEFINE = "define functions"
    READ_TABLES = "read tables directly"
    WRITE_TABLES = "write to tables directly"
    SQL = "run SQL"
    SEE_VISITORS = "see who is connected"
    CHANGE_SCHEMA = "change the schema"
    LOAD = "load and export data"
    CONFIGURE = "read and change settings"
    INVITE = "invite others and revoke their access"
    BACK_UP = "back up the workspace, access tokens included"


class Role(StrEnum):
    """A caller's role; each may do what those below it may."""

    OWNER = "owner"
    EDITOR = "editor"
    MEMBER = "member"
    VIEWER = "viewer"

    @property
    def permissions(self) -> frozenset[Permission]:
        """Everything it may do."""
        return _PERMISSIONS[self]


_VIEWER = frozenset({Permission.QUERY})
_MEMBER = _VIEWER | {Permission.CALL}
_EDITOR = frozenset(Permission) - {Permission.INVITE, Permission.BACK_UP}
_PERMISSIONS = {
    Role.VIEWER: _VIEWER,
    Role.MEMBER: _MEMBER,
    Role.EDITOR: _EDITOR,
    Role.OWNER: frozenset(Permission),
}


def lower(one: Role, other: Role) -> Role:
    """That of two roles which may do less."""
    return one if one.permissions <= other.permissions else other


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody whose token or key has been checked."""

    role: Role
    name: str
    """Whom logs and presence name: that of an access token, or the identity's."""
    identity: Identity | None = None
    """What functions see; None without one, as with an access token."""
    expires_s: float | None = None
    """Seconds since the Unix epoch from which this no longer holds; None for never."""
    token_id: str | None = None
    """The access token this came with, which may be revoked meanwhile."""

    @property
    def is_admin(self) -> bool:
        """Whether internal functions and system queries answer it (Convex's admin key)."""
        return Permission.CALL_INTERNAL in self.role.permissions

    def may(self, permission: Permission) -> bool:
        """Whether the role allows it."""
        return permission in self.role.permissions


def require(caller: Caller, permission: Permission) -> None:
    """Let `caller` go on only if it has `permission`.

    Raises:
        PermissionDeniedError: it has not.
    """
    if not caller.may(permission):
        able = [role.value for role in Role if permission in role.permissions]
        raise PermissionDeniedError(
            f"{caller.name!r} is here as {caller.role.value!r} and may not {permission.value}; "
            f"{listed(able)} may."
        )
