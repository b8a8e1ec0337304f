from __future__ import annotations

import pytest

from livedb.auth.access import Role
from livedb.auth.access_tokens import AccessTokens
from livedb.auth.authenticator import Authenticator
from livedb.auth.authorization import parse_admin_key, parse_authorization
from livedb.errors import AuthenticationError, PermissionDeniedError
from livedb.limits import TOKEN_LEEWAY_S
from tests.auth.issuers import inline

ANA = {"issuer": "https://shop.example", "subject": "ana"}


@pytest.fixture
def tokens(clock):
    return AccessTokens(clock)


@pytest.fixture
def signer(signers):
    return signers["EdDSA"]


@pytest.fixture
def verifier(make_verifier, signer):
    return make_verifier(inline(signer.public(), algorithm="EdDSA"))


@pytest.fixture
def door(verifier, tokens, clock):
    return Authenticator(verifier, tokens, clock)


def enter(door, header):
    return door.authenticate(parse_authorization(header))


def test_a_user_of_an_issuer_is_a_member_with_an_identity(door, signer, claims):
    caller = enter(door, f"Bearer {signer.sign(claims(name='Ana'))}")
    assert (caller.role, caller.name, caller.is_admin) == (Role.MEMBER, "Ana", False)
    assert caller.identity.token_identifier == "https://shop.example|user_1"


@pytest.mark.parametrize(
    "more,name", [({}, "user_1"), ({"email": "a@b.c"}, "a@b.c"), ({"name": 7}, "user_1")]
)
def test_a_user_without_a_name_is_called_something(door, signer, claims, more, name):
    assert enter(door, f"Bearer {signer.sign(claims(**more))}").name == name


@pytest.mark.parametrize("scheme", ["Bearer", "Convex"])
@pytest.mark.parametrize("role", list(Role))
def test_a_holder_of_an_access_token_has_its_role_and_no_identity(door, tokens, scheme, role):
    token, kept = tokens.issue(role, "Ben")
    caller = enter(door, f"{scheme} {token}")
    assert (caller.role, caller.name, caller.identity) == (role, "Ben", None)
    assert caller.token_id == kept.id


def test_an_admin_key_may_come_as_a_users_token_does(door, tokens):
    tokens.admit("key", Role.OWNER, "admin key")
    tokens.admit("a.dotted.key", Role.OWNER, "admin key")
    for right in ("shop|key", "key", "a.dotted.key"):
        assert enter(door, f"Bearer {right}").role == Role.OWNER
    for wrong in ("shop|another", "another", "another.dotted.key"):
        with pytest.raises(AuthenticationError):
            enter(door, f"Bearer {wrong}")


def test_an_administrator_may_act_as_a_user(door, tokens):
    tokens.admit("key", Role.OWNER, "admin key")
    caller = door.authenticate(parse_admin_key("shop|key", ANA))
    assert (caller.role, caller.is_admin) == (Role.OWNER, True)
    assert caller.identity.token_identifier == "https://shop.example|ana"


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_nobody_else_may_act_as_a_user(door, tokens, role):
    token, _ = tokens.issue(role, "Ben")
    with pytest.raises(PermissionDeniedError, match="may not act as a user"):
        door.authenticate(parse_admin_key(token, ANA))


def test_who_brings_nothing_gets_in_where_that_is_allowed(door, verifier, tokens, clock):
    with pytest.raises(AuthenticationError, match="nobody in without a token"):
        enter(door, None)
    open_door = Authenticator(verifier, tokens, clock, anonymous=Role.MEMBER)
    assert enter(open_door, None).role is Role.MEMBER


def test_who_brings_something_wrong_is_not_let_in_as_nobody(verifier, tokens, clock):
    open_door = Authenticator(verifier, tokens, clock, anonymous=Role.MEMBER)
    for header in ("Bearer a.b.c", "Bearer ldb_o_x", "Convex key", ""):
        with pytest.raises(AuthenticationError):
            enter(open_door, header)


def test_an_identity_holds_until_its_token_expires(door, signer, claims, clock):
    caller = enter(door, f"Bearer {signer.sign(claims())}")
    clock.advance(3600 + TOKEN_LEEWAY_S - 1)
    assert door.holds(caller)
    clock.advance(1)
    assert not door.holds(caller)


def test_a_holder_is_out_when_the_token_is_revoked_or_expires(door, tokens, clock):
    revoked, kept = tokens.issue(Role.EDITOR, "Ana")
    expiring, _ = tokens.issue(Role.EDITOR, "Ben", expires_s=60)
    ana, ben = enter(door, f"Bearer {revoked}"), enter(door, f"Bearer {expiring}")
    assert door.holds(ana)
    assert door.holds(ben)
    tokens.revoke(kept.id)
    clock.advance(60)
    assert not door.holds(ana)
    assert not door.holds(ben)


def test_who_brought_nothing_stays(verifier, tokens, clock):
    open_door = Authenticator(verifier, tokens, clock, anonymous=Role.VIEWER)
    assert open_door.holds(enter(open_door, None))
