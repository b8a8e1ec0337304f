"""Who a user of a Jupyter server is to its workspaces."""

from __future__ import annotations

import pytest
from jupyter_server.auth import User
from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider

from livedb.auth.access import Role
from livedb.jupyter.users import UserRules, authorization_of, own_name_of
from livedb.service.local_door import user_name


def rules(**given):
    known = {"own_name": "ana", "own_role": Role.OWNER, "role": Role.EDITOR, "issuer": "hub"}
    return UserRules(**{**known, **given})


def test_the_servers_own_user_is_the_owner_and_others_are_editors():
    assert rules().caller(User("ana"), Role.OWNER).role == "owner"
    assert rules().caller(User("ben"), Role.OWNER).role == "editor"
    assert rules(role=Role.VIEWER).caller(User("ben"), Role.OWNER).role == "viewer"


def test_users_who_are_named_have_the_role_that_is_said():
    named = rules(roles={"ana": Role.MEMBER, "ben": Role.OWNER})
    assert named.caller(User("ana"), Role.OWNER).role == "member"
    assert named.caller(User("ben"), Role.OWNER).role == "owner"


@pytest.mark.parametrize("most", list(Role))
def test_nobody_may_do_more_than_the_authorizer_allows(most):
    assert rules().caller(User("ana"), most).role == most


def test_a_named_user_has_an_identity_that_stays():
    user = User("ben", name="Ben Bo", display_name="Ben", avatar_url="https://x.example/b.png")
    caller = rules().caller(user, Role.OWNER)
    assert caller.name == "ben"  # in the log, and to others: nothing that one may choose
    assert caller.identity.to_document() == {
        "tokenIdentifier": "hub|ben",
        "issuer": "hub",
        "subject": "ben",
        "name": "Ben",
        "preferredUsername": "ben",
        "pictureUrl": "https://x.example/b.png",
    }


def test_whoever_has_a_servers_one_secret_is_its_own_user_under_the_name_it_makes_up():
    alone = rules(own_name=None, issuer="jupyter")
    one = alone.caller(User("3f2a", display_name="Anonymous Io"), Role.OWNER)
    two = alone.caller(User("77b1", display_name="Anonymous Leda"), Role.OWNER)
    assert (one.name, two.name) == ("Anonymous Io", "Anonymous Leda")
    assert one.role == two.role == "owner"
    assert one.identity == two.identity
    assert one.identity.subject == user_name()


def test_a_made_up_name_is_nobody_whom_the_settings_name():
    alone = rules(own_name=None, roles={"ben": Role.VIEWER})
    assert alone.caller(User("ben", display_name="ben"), Role.OWNER).role == "owner"


def test_the_own_user_is_known_from_the_hub_or_by_the_one_secret(monkeypatch):
    class Sso(IdentityProvider):
        pass

    assert own_name_of(IdentityProvider()) is None
    assert own_name_of(PasswordIdentityProvider()) is None
    # Whom a provider of the operator's lets in is not known: nobody is taken for the own user.
    assert rules(own_name=own_name_of(Sso())).caller(User("ana"), Role.OWNER).role == "editor"
    monkeypatch.setenv("JUPYTERHUB_USER", "ana")
    assert own_name_of(Sso()) == own_name_of(IdentityProvider()) == "ana"


@pytest.mark.parametrize(
    "headers, opened, brought",
    [
        ({}, False, None),
        ({"Authorization": "token abc"}, True, None),
        ({"Authorization": "token abc"}, False, None),
        ({"Authorization": "Bearer abc"}, True, None),
        ({"Authorization": "Bearer ldb_x"}, False, "Bearer ldb_x"),
        ({"Authorization": "Convex key"}, False, "Convex key"),
        ({"Authorization": "Convex key"}, True, "Convex key"),
        ({"Authorization": "Basic abc"}, False, None),
        ({"Authorization": "token a", "X-Livedb-Authorization": "Bearer b"}, True, "Bearer b"),
    ],
)
def test_what_opened_the_server_is_not_shown_to_a_workspace(headers, opened, brought):
    assert authorization_of(headers, opened_the_server=opened) == brought
