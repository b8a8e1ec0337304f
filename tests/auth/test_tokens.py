from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.auth.keysets import KeySets
from livedb.auth.providers import parse_providers
from livedb.auth.tokens import Verifier
from livedb.clock import ManualClock
from livedb.errors import AuthenticationError
from livedb.limits import TOKEN_BYTES_MAX, TOKEN_LEEWAY_S
from tests.auth.issuers import Signer, base64_of, inline

RS256 = "RS256"


@pytest.fixture
def rsa(signers):
    return signers[RS256]


@pytest.fixture
def verifier(make_verifier, rsa):
    return make_verifier(inline(rsa.public()))


def refusal_of(verifier, token) -> AuthenticationError:
    """The error of a token that must be refused; no part of the token is in it."""
    with pytest.raises(AuthenticationError) as caught:
        verifier.verify(token)
    error = caught.value
    assert error.status == 401
    secret_parts = [part for part in token.split(".") if len(part) > 8]
    assert not any(part in str(error) or part in repr(error) for part in secret_parts)
    return error


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_of_each_algorithm_proves_its_identity(make_verifier, signers, claims, algorithm):
    signer = signers[algorithm]
    verifier = make_verifier(inline(signer.public(), algorithm=algorithm))
    verified = verifier.verify(signer.sign(claims(email="ana@shop.example")))
    assert verified.identity.to_document() == {
        "tokenIdentifier": "https://shop.example|user_1",
        "subject": "user_1",
        "issuer": "https://shop.example",
        "email": "ana@shop.example",
    }
    assert verified.expires_s == claims()["exp"] + TOKEN_LEEWAY_S


def test_the_new_name_of_eddsa_is_taken_too(make_verifier, signers, claims):
    signer = signers["EdDSA"]
    verifier = make_verifier(inline(signer.public(alg="Ed25519"), algorithm="EdDSA"))
    assert verifier.verify(signer.sign(claims(), alg="Ed25519")).identity.subject == "user_1"


def test_a_header_with_fields_of_the_issuers_own_is_taken(verifier, rsa, claims):
    assert verifier.verify(rsa.sign(claims(), cat="cl_B7d4PD111AAA")).identity.subject == "user_1"


def test_the_audience_may_be_a_list(verifier, rsa, claims):
    token = rsa.sign(claims(aud=["https://api.shop.example", "shop"]))
    assert verifier.verify(token).identity.subject == "user_1"


def test_without_an_application_id_any_audience_is_taken(make_verifier, rsa, claims):
    config = inline(rsa.public())
    del config["applicationID"]
    verifier = make_verifier(config)
    for audience in ("elsewhere", None):
        assert verifier.verify(rsa.sign(claims(aud=audience))).identity.subject == "user_1"


def test_a_key_without_a_name_serves_tokens_without_one(make_verifier, claims):
    signer = Signer("ES256", None)
    verifier = make_verifier(inline(signer.public(), algorithm="ES256"))
    assert verifier.verify(signer.sign(claims())).identity.subject == "user_1"


def test_a_token_that_names_no_key_of_several_is_refused(make_verifier, claims):
    one, two = Signer("ES256", "a"), Signer("ES256", "b")
    verifier = make_verifier(inline(one.public(), two.public(), algorithm="ES256"))
    refusal_of(verifier, one.sign(claims(), kid=None))


def test_one_issuer_may_serve_two_applications(make_verifier, rsa, claims):
    verifier = make_verifier(inline(rsa.public()), inline(rsa.public(), applicationID="shop-admin"))
    for audience in ("shop", "shop-admin"):
        assert verifier.verify(rsa.sign(claims(aud=audience))).identity.subject == "user_1"


# What is refused: reliability.md 2.4, nos. 56 to 58.


def test_a_token_without_a_signature_is_refused(verifier, claims):
    for name in ("none", "None", "NONE"):
        header = base64_of(json.dumps({"alg": name, "kid": "RS256-1"}))
        error = refusal_of(verifier, f"{header}.{base64_of(json.dumps(claims()))}.")
        assert "not signed with RS256" in error.message


def test_an_hmac_with_the_public_key_is_refused(verifier, rsa, claims):
    """The attack on verifiers that believe the header: the public key taken for a secret."""
    for secret in (rsa.key.as_pem(private=False), json.dumps(rsa.public()).encode()):
        header = base64_of(json.dumps({"alg": "HS256", "kid": "RS256-1"}))
        body = f"{header}.{base64_of(json.dumps(claims()))}"
        digest = hmac.new(secret, body.encode(), hashlib.sha256).digest()
        refusal_of(verifier, f"{body}.{base64_of(digest)}")


@pytest.mark.parametrize(
    "name", ["RS512", "PS256", "ES256", "HS256", "", "rs256", None, 7, ["RS256"]]
)
def test_any_other_algorithm_than_the_configured_is_refused(verifier, rsa, claims, name):
    header = {"alg": name, "kid": "RS256-1"}
    refusal_of(verifier, rsa.sign_parts(json.dumps(header), json.dumps(claims())))


def test_a_key_of_another_kind_under_the_right_name_is_not_used(make_verifier, signers, claims):
    elliptic = signers["ES256"]
    verifier = make_verifier(
        inline(elliptic.public(kid="k"), signers[RS256].public(), algorithm="RS256")
    )
    refusal_of(verifier, elliptic.sign(claims(), kid="k"))
    refusal_of(verifier, elliptic.sign(claims(), kid="k", alg="RS256"))


def test_a_signature_of_zeros_is_refused(make_verifier, signers, claims):
    elliptic = signers["ES256"]
    verifier = make_verifier(inline(elliptic.public(), algorithm="ES256"))
    body = elliptic.sign(claims()).rpartition(".")[0]
    for size in (0, 63, 64, 65):
        refusal_of(verifier, f"{body}.{base64_of(bytes(size))}")


def test_a_token_changed_after_it_was_signed_is_refused(verifier, rsa, claims):
    header, payload, signature = rsa.sign(claims()).split(".")
    other = base64_of(json.dumps(claims(sub="somebody_else")))
    for token in (
        f"{header}.{other}.{signature}",
        f"{header}.{payload}.{signature[:-4]}AAAA",
        f"{header}.{payload}.{signature}=",
        f"{header}.{payload}",
        f"{header}.{payload}.{signature}.{signature}",
    ):
        refusal_of(verifier, token)


def test_somebody_elses_key_is_refused_under_any_name(verifier, claims):
    theirs = Signer(RS256, "RS256-1")
    refusal_of(verifier, theirs.sign(claims()))
    refusal_of(verifier, theirs.sign(claims(), jwk=theirs.public()))
    for name in ("jku", "x5u"):
        refusal_of(verifier, theirs.sign(claims(), **{name: "https://evil.example/keys"}))


@pytest.mark.parametrize(
    "kid", ["unknown", "../../key", "https://evil.example/k", "' OR 1=1 --", "\0", "", 7, None]
)
def test_a_key_name_is_looked_up_and_nothing_else(make_verifier, rsa, claims, kid):
    other = Signer(RS256, "other")
    verifier = make_verifier(inline(rsa.public(), other.public()))
    header = json.dumps({"alg": RS256} | ({} if kid is None else {"kid": kid}))
    refusal_of(verifier, rsa.sign_parts(header, json.dumps(claims())))


@pytest.mark.parametrize(
    "issuer",
    [
        "https://shop.example.evil",
        "https://shop.example/",
        "https://SHOP.example",
        "shop.example",
        " https://shop.example",
    ],
)
def test_an_issuer_that_looks_like_the_configured_is_refused(verifier, rsa, claims, issuer):
    assert refusal_of(verifier, rsa.sign(claims(iss=issuer))).code == "NoAuthProvider"


@pytest.mark.parametrize(
    "audience", ["other", "shopping", "", [], ["other"], [["shop"]], {"shop": 1}, None]
)
def test_a_token_for_another_application_is_refused(verifier, rsa, claims, audience):
    assert refusal_of(verifier, rsa.sign(claims(aud=audience))).code == "NoAuthProvider"


@pytest.mark.parametrize("name", ["iss", "sub"])
@pytest.mark.parametrize("value", [None, "", 7, ["user_1"]])
def test_a_token_that_names_nobody_is_refused(verifier, rsa, claims, name, value):
    assert refusal_of(verifier, rsa.sign(claims(**{name: value}))).code == "InvalidAuthHeader"


def test_a_token_holds_until_it_expires_and_a_little_longer(verifier, rsa, claims, clock):
    token = rsa.sign(claims())
    clock.advance(3600 + TOKEN_LEEWAY_S - 1)
    assert verifier.verify(token).identity.subject == "user_1"
    clock.advance(1)
    assert refusal_of(verifier, token).code == "IdTokenExpired"


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_from_the_future_is_refused_until_then(verifier, rsa, claims, clock, name):
    token = rsa.sign(claims(**{name: claims()["iat"] + 100}))
    assert repr(name) in refusal_of(verifier, token).message
    clock.advance(100 - TOKEN_LEEWAY_S)
    assert verifier.verify(token).identity.subject == "user_1"


@pytest.mark.parametrize("value", ["null", '"soon"', "true", "1e999", "[1]", "9" * 400])
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_a_moment_that_is_none_is_refused(verifier, rsa, claims, name, value):
    if name != "exp" and value == "null":
        return  # as good as absent
    payload = json.dumps(claims(**{name: "@"})).replace('"@"', value)
    refusal_of(verifier, rsa.sign(None, text=payload))


def test_a_token_that_never_expires_is_refused(verifier, rsa, claims):
    assert "never expires" in refusal_of(verifier, rsa.sign(claims(exp=None))).message


def test_a_name_twice_is_refused_in_claims_and_header(verifier, rsa, claims):
    payload = json.dumps(claims())
    refusal_of(verifier, rsa.sign(None, text=payload[:-1] + ', "sub": "user_2"}'))
    header = '{"alg": "RS256", "kid": "RS256-1", "kid": "RS256-1"}'
    refusal_of(verifier, rsa.sign_parts(header, payload))


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "7",
        "[]",
        "null",
        '"text"',
        "{",
        '{"sub": NaN}',
        '{"sub": "\\ud800"}',
        "[" * 5000,
        '{"a":' * 1000 + "1" + "}" * 1000,
    ],
)
def test_a_payload_that_is_no_plain_json_object_is_refused(verifier, rsa, payload):
    refusal_of(verifier, rsa.sign(None, text=payload))
    refusal_of(verifier, rsa.sign_parts(payload, payload))


def test_extensions_that_are_not_understood_are_refused(verifier, rsa, claims):
    for more in ({"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": True}):
        refusal_of(verifier, rsa.sign(claims(), **more))


@pytest.mark.parametrize("size", [TOKEN_BYTES_MAX + 1, 1 << 20])
def test_a_long_token_is_refused_before_anything_reads_it(verifier, rsa, claims, size):
    token = rsa.sign(claims())
    for long in (
        token + "A" * (size - len(token)),
        "a." + "A" * size + ".a",
        "." * size,
        "\0" * size,
    ):
        assert "longer than" in refusal_of(verifier, long).message
    refusal_of(verifier, rsa.sign(claims(), kid="k" * size))


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b", "a.b.c.d", "null", "é.é.é", "a b.c.d", "a.b.c\n", "\0.\0.\0"]
)
def test_what_is_no_token_is_refused(verifier, token):
    assert refusal_of(verifier, token).code == "InvalidAuthHeader"


_LOCAL_SIGNER = Signer("EdDSA", "k")
_LOCAL = Verifier(
    parse_providers({"providers": [inline(_LOCAL_SIGNER.public(), algorithm="EdDSA")]}),
    KeySets(ManualClock()),
    ManualClock(),
)


@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "jwk", "x5c", "x5u", "enc"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.just("EdDSA")
        | st.lists(st.text()),
    ),
    claims=st.dictionaries(
        st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "email", "address", "x"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text()
            | st.sampled_from(["https://shop.example", "shop"]),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    ),
    patch=st.binary(max_size=4),
)
def test_whatever_is_sent_proves_an_identity_or_is_refused(header, claims, patch):
    token = _LOCAL_SIGNER.sign_parts(json.dumps(header), json.dumps(claims))
    for sent in (token, token[: len(token) - len(patch)] + base64_of(patch)):
        try:
            verified = _LOCAL.verify(sent)
        except AuthenticationError:
            continue
        assert verified.identity.subject == claims["sub"]
