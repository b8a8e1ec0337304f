from __future__ import annotations

import pytest

from livedb.auth.access import Caller, Permission, Role, require
from livedb.errors import PermissionDeniedError

ALL = set(Permission)


@pytest.mark.parametrize(
    "role,permissions",
    [
        ("owner", ALL),
        ("editor", ALL - {Permission.INVITE, Permission.BACK_UP}),
        ("member", {Permission.QUERY, Permission.CALL}),
        ("viewer", {Permission.QUERY}),
    ],
)
def test_each_role_may_do_this_and_nothing_else(role, permissions):
    caller = Caller(role=Role(role), name="Ana")
    for permission in Permission:
        assert caller.may(permission) == (permission in permissions)
        if permission in permissions:
            require(caller, permission)
        else:
            with pytest.raises(PermissionDeniedError) as caught:
                require(caller, permission)
            assert caught.value.status == 403
            assert f"here as {role!r} and may not {permission.value}" in caught.value.message


def test_owners_and_editors_are_administrators_and_nobody_else():
    admins = [role.value for role in Role if Caller(role=role, name="x").is_admin]
    assert admins == ["owner", "editor"]


def test_a_refusal_says_who_may():
    with pytest.raises(PermissionDeniedError, match="owner, editor and member may"):
        require(Caller(role=Role.VIEWER, name="Ana"), Permission.CALL)
    with pytest.raises(PermissionDeniedError, match="owner and editor may"):
        require(Caller(role=Role.MEMBER, name="Ana"), Permission.SQL)
