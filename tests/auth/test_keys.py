from __future__ import annotations

import pytest
from joserfc import jwk

from livedb.auth.keys import parse_key_set
from livedb.errors import InvalidValueError
from tests.auth.issuers import Signer, base64_of


@pytest.fixture
def elliptic(signers):
    return signers["ES256"]


def taken(*entries) -> list[str | None]:
    """The names of the keys taken, beside one that is always good."""
    good = jwk.generate_key("OKP", "Ed25519").as_dict(private=False)
    keys = parse_key_set({"keys": [*entries, {**good, "kid": "good"}]}).keys
    return [key.kid for key in keys if key.kid != "good"]


def test_a_key_of_each_kind_is_taken_for_its_algorithm(signers):
    keys = parse_key_set({"keys": [signer.public() for signer in signers.values()]}).keys
    assert [key.algorithm for key in keys] == list(signers)


def test_a_key_is_found_for_its_own_algorithm_only(elliptic):
    keys = parse_key_set({"keys": [elliptic.public()]})
    assert keys.find("ES256-1", "ES256") is keys.find(None, "ES256") is keys.keys[0]
    assert keys.find("ES256-1", "RS256") is keys.find(None, "RS256") is None
    assert keys.find("another", "ES256") is None


def test_what_issuers_write_beside_a_key_is_left_alone(elliptic):
    more = {"use": "sig", "x5c": "broken", "x5t": 7, "issuer": "https://x", "key_ops": ["verify"]}
    assert taken(elliptic.public(**more)) == ["ES256-1"]


def test_a_private_part_published_by_mistake_is_not_kept(elliptic):
    keys = parse_key_set({"keys": [elliptic.key.as_dict(private=True)]}).keys
    assert not keys[0].key.is_private


@pytest.mark.parametrize(
    "changed",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": "ES384"},
        {"alg": "HS256"},
        {"alg": None},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"kty": "RSA"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": None},
        {"x": "AAAA"},
        {"x": "!"},
        {"x": 7},
        {"y": None},
    ],
)
def test_a_key_for_something_else_or_damaged_is_left_out(elliptic, changed):
    assert taken(elliptic.public(**changed)) == []


@pytest.mark.parametrize("entry", [None, 7, "key", [], {}])
def test_what_is_no_key_is_left_out(entry):
    assert taken(entry) == []


@pytest.mark.parametrize("kind", [("OKP", "X25519"), ("OKP", "Ed448"), ("EC", "P-521")])
def test_keys_of_other_curves_are_left_out(kind):
    assert taken(jwk.generate_key(*kind).as_dict(private=False, kid="k")) == []


def test_a_short_or_enormous_rsa_key_is_left_out(signers):
    good = signers["RS256"].public()
    for size in (128, 255, 1025):
        assert taken({**good, "n": base64_of(b"\xff" * size)}) == []
    assert taken({**good, "n": base64_of(bytes(200) + b"\xff" * 128)}) == []  # zeros add nothing


@pytest.mark.parametrize("json", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [{}]}])
def test_a_set_without_a_usable_key_is_refused(json):
    with pytest.raises(InvalidValueError):
        parse_key_set(json)


def test_a_key_verifies_what_it_signed_and_nothing_else(signers):
    for algorithm, signer in signers.items():
        (key,) = parse_key_set({"keys": [signer.public()]}).keys
        token = signer.sign({"sub": "x"}).encode()
        assert key.has_signed(token)
        assert not key.has_signed(token[:-8] + b"AAAAAAAA")
        assert not key.has_signed(Signer(algorithm, signer.kid).sign({"sub": "x"}).encode())
        assert not key.has_signed(b"no token")
