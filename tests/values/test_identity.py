from __future__ import annotations

import pytest

from livedb.errors import InvalidValueError
from livedb.identity import Identity

ANA = Identity(
    token_identifier="https://shop.example|ana",
    subject="ana",
    issuer="https://shop.example",
    claims={"email": "ana@shop.example", "roles": ["admin"], "org": {"id": 7}},
)
DOCUMENT = {
    "tokenIdentifier": "https://shop.example|ana",
    "subject": "ana",
    "issuer": "https://shop.example",
    "email": "ana@shop.example",
    "roles": ["admin"],
    "org": {"id": 7},
}


def test_a_document_has_convexs_fields_and_every_claim():
    assert ANA.to_document() == DOCUMENT


def test_who_changes_a_document_changes_nobody_elses():
    changed = ANA.to_document()
    changed["roles"].append("owner")
    changed["org"]["id"] = 8
    assert ANA.to_document() == DOCUMENT


@pytest.mark.parametrize("name", ["tokenIdentifier", "subject", "issuer"])
def test_no_claim_passes_for_who_somebody_is(name):
    forged = Identity(token_identifier="a|b", subject="b", issuer="a", claims={name: "root"})
    assert forged.to_document() == {"tokenIdentifier": "a|b", "subject": "b", "issuer": "a"}


def test_an_identity_comes_back_from_its_document():
    back = Identity.from_document(DOCUMENT)
    assert back == ANA
    assert back.to_document() == DOCUMENT


@pytest.mark.parametrize(
    "document",
    [
        {"tokenIdentifier": "https://x|auth0|1"},
        {"issuer": "https://x", "subject": "auth0|1"},
        {"tokenIdentifier": "https://x|auth0|1", "issuer": "https://x", "subject": "auth0|1"},
    ],
)
def test_what_is_left_out_follows_from_the_rest(document):
    identity = Identity.from_document(document)
    assert identity.token_identifier == "https://x|auth0|1"
    assert (identity.issuer, identity.subject) == ("https://x", "auth0|1")


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "ana",
        {},
        {"issuer": "x"},
        {"subject": "x"},
        {"tokenIdentifier": "no bar"},
        {"tokenIdentifier": "x|"},
        {"tokenIdentifier": 7},
        {"issuer": "x", "subject": ""},
    ],
)
def test_a_document_that_names_nobody_is_refused(document):
    with pytest.raises(InvalidValueError) as caught:
        Identity.from_document(document)
    assert caught.value.code == "InvalidIdentity"
