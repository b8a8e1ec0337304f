from __future__ import annotations

import pytest

from livedb.auth.claims import identity_of
from livedb.canonical import canonical

OWN = {"tokenIdentifier": "https://x|ana", "subject": "ana", "issuer": "https://x"}


def fields_of(*, is_custom=False, **claims):
    """What a function sees beside the three fields that every identity has."""
    identity = identity_of({"iss": "https://x", "sub": "ana", **claims}, is_custom=is_custom)
    document = identity.to_document()
    assert {name: document.pop(name) for name in OWN} == OWN
    return document


STANDARD = {
    "name": "Ana Bo",
    "given_name": "Ana",
    "family_name": "Bo",
    "nickname": "an",
    "preferred_username": "ana",
    "profile": "https://x/ana",
    "picture": "https://x/ana.png",
    "website": "https://ana.example",
    "email": "ana@x",
    "email_verified": True,
    "gender": "f",
    "birthdate": "1990-02-01",
    "zoneinfo": "Europe/Rome",
    "locale": "it-IT",
    "phone_number": "+39 1",
    "phone_number_verified": False,
    "address": {"formatted": "Via Roma 1", "country": "IT"},
    "updated_at": 1_767_225_600,
}
SHOWN = {
    "name": "Ana Bo",
    "givenName": "Ana",
    "familyName": "Bo",
    "nickname": "an",
    "preferredUsername": "ana",
    "profileUrl": "https://x/ana",
    "pictureUrl": "https://x/ana.png",
    "websiteUrl": "https://ana.example",
    "email": "ana@x",
    "emailVerified": True,
    "gender": "f",
    "birthday": "1990-02-01",
    "timezone": "Europe/Rome",
    "language": "it-IT",
    "phoneNumber": "+39 1",
    "phoneNumberVerified": False,
    "address": "Via Roma 1",
    "updatedAt": "2026-01-01T00:00:00+00:00",
}


def test_standard_claims_have_convexs_names():
    assert fields_of(**STANDARD) == SHOWN


def test_custom_tokens_have_them_under_both_names():
    shown = fields_of(is_custom=True, **STANDARD)
    assert shown.items() >= SHOWN.items()
    assert shown["given_name"] == "Ana"
    assert shown["address.country"] == "IT"


def test_what_says_something_of_the_token_alone_is_left_out():
    claims = dict.fromkeys(["aud", "exp", "nbf", "iat", "jti"], 1)
    login = dict.fromkeys(["nonce", "auth_time", "acr", "amr", "azp", "at_hash", "c_hash"], 1)
    assert fields_of(**claims, **login) == {}
    assert fields_of(is_custom=True, **claims, org="shop") == {"org": "shop"}


def test_other_claims_stand_under_their_own_names():
    others = {"https://x/roles": ["admin"], "org_id": "org_1", "o": {"slg": "shop"}, "n": None}
    assert fields_of(**others) == others


def test_nested_claims_of_custom_tokens_become_dotted():
    assert fields_of(is_custom=True, properties={"id": "1", "a": {"b": [{"c": 1}]}, "e": {}}) == {
        "properties.id": "1",
        "properties.a.b": [{"c": 1}],
    }


@pytest.mark.parametrize("order", [1, -1])
def test_a_dotted_name_that_is_written_out_wins(order):
    claims = dict([("a.b", "written"), ("a", {"b": "nested"})][::order])
    assert fields_of(is_custom=True, **claims) == {"a.b": "written"}


@pytest.mark.parametrize("is_custom", [False, True])
def test_a_standard_claim_wins_over_a_claim_that_has_its_shown_name(is_custom):
    shown = fields_of(is_custom=is_custom, emailVerified=True, email_verified=False)
    assert shown["emailVerified"] is False


@pytest.mark.parametrize("is_custom", [False, True])
@pytest.mark.parametrize("name", list(OWN))
def test_no_claim_passes_for_who_somebody_is(is_custom, name):
    assert fields_of(is_custom=is_custom, **{name: "root"}) == {}


def test_a_standard_claim_of_the_wrong_type_is_left_out():
    wrong = {"name": 7, "email": ["a@x"], "email_verified": "yes", "address": {"country": "IT"}}
    assert fields_of(**wrong, updated_at=[1], phone_number_verified=1) == {}


@pytest.mark.parametrize("value,shown", [("true", True), ("false", False)])
def test_a_flag_sent_as_text_is_no_text_that_counts_as_true(value, shown):
    assert fields_of(email_verified=value) == {"emailVerified": shown}


@pytest.mark.parametrize("value", [1e30, -1e30, float("nan"), True])
def test_a_moment_beyond_the_calendar_is_left_out(value):
    assert fields_of(updated_at=value) == {}


def test_what_a_function_sees_it_may_store():
    shown = fields_of(big=2**60, nested={"list": [2**53 + 1, 2**53]})
    assert shown == {"big": float(2**60), "nested": {"list": [float(2**53), 2**53]}}
    assert canonical(shown) == shown
