from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from livedb.auth.keys import ALGORITHMS
from livedb.auth.providers import load_providers, parse_providers
from livedb.errors import InvalidValueError
from tests.auth.issuers import data_uri, inline

DOMAIN = {"domain": "https://shop.eu.auth0.com", "applicationID": "shop"}
CUSTOM = {
    "type": "customJwt",
    "issuer": "https://shop.example",
    "jwks": "https://shop.example/jwks.json",
    "algorithm": "ES256",
}


def parse_one(entry):
    (provider,) = parse_providers({"providers": [entry]})
    return provider


def refusal_of(entry) -> InvalidValueError:
    with pytest.raises(InvalidValueError) as caught:
        parse_providers({"providers": [DOMAIN, entry]})
    assert caught.value.code == "InvalidAuthConfig"
    return caught.value


def test_a_domain_is_asked_where_its_keys_are():
    provider = parse_one(DOMAIN)
    assert provider.keys_at == "https://shop.eu.auth0.com/.well-known/openid-configuration"
    assert provider.algorithms == set(ALGORITHMS)
    assert not provider.is_custom


@pytest.mark.parametrize(
    "domain", ["https://shop.eu.auth0.com/", "shop.eu.auth0.com", "https://shop.eu.auth0.com"]
)
def test_a_domain_is_taken_as_auth0_and_convex_show_it(domain):
    provider = parse_one(DOMAIN | {"domain": domain})
    assert provider.is_issuer("https://shop.eu.auth0.com")
    assert provider.is_issuer("https://shop.eu.auth0.com/")
    assert not provider.is_issuer("https://shop.eu.auth0.com.evil")
    assert not provider.is_issuer("http://shop.eu.auth0.com")


def test_a_domain_may_be_held_to_one_algorithm():
    assert parse_one(DOMAIN | {"algorithm": "RS256"}).algorithms == {"RS256"}


def test_a_custom_issuer_is_exact_and_has_one_algorithm():
    provider = parse_one(CUSTOM)
    assert provider.keys_at == "https://shop.example/jwks.json"
    assert provider.algorithms == {"ES256"}
    assert provider.is_issuer("https://shop.example")
    assert not provider.is_issuer("https://shop.example/")


def test_an_application_id_may_be_left_out_for_custom_issuers_only():
    assert parse_one(CUSTOM).takes([])
    assert not parse_one(CUSTOM | {"applicationID": "shop"}).takes(["other"])
    assert refusal_of({"domain": "https://x.example"}).path == ".providers[1].applicationID"


def test_keys_may_be_in_the_configuration(signers):
    public = signers["ES256"].public()
    text = json.dumps({"keys": [public]})
    for uri in (
        data_uri(public),
        data_uri(public).replace("application/json", "text/plain;charset=utf-8"),
        "data:," + quote(text),
        "data:application/json," + text,
    ):
        provider = parse_one(CUSTOM | {"jwks": uri})
        assert [key.kid for key in provider.keys.keys] == ["ES256-1"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:1"]
)
def test_plain_http_is_taken_on_this_machine(url):
    assert parse_one(DOMAIN | {"domain": url}).issuer == url


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example",
        "http://10.0.0.1",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "ftp://shop.example",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@shop.example",
        "https://shop.example:port",
        "https://[broken",
        "https://shop.example/a b",
        "https://shop.example/\n",
        "://x",
    ],
)
def test_keys_come_from_no_other_place(url):
    assert refusal_of(DOMAIN | {"domain": url}).path == ".providers[1].domain"
    error = refusal_of(CUSTOM | {"jwks": url})
    assert error.path == ".providers[1].jwks"
    assert "secret" not in error.message


@pytest.mark.parametrize(
    "entry,field",
    [
        (7, ""),
        ({}, ".domain"),
        (DOMAIN | {"type": "saml"}, ".type"),
        (DOMAIN | {"domain": 7}, ".domain"),
        (DOMAIN | {"domain": " "}, ".domain"),
        (DOMAIN | {"domain": "https://x.example?y=1"}, ".domain"),
        (DOMAIN | {"applicationID": None}, ".applicationID"),
        (DOMAIN | {"applicationId": "shop"}, ".applicationId"),
        (DOMAIN | {"algorithm": "HS256"}, ".algorithm"),
        (DOMAIN, ""),
        (CUSTOM | {"algorithm": "none"}, ".algorithm"),
        (CUSTOM | {"algorithm": "RS512"}, ".algorithm"),
        (CUSTOM | {"algorithm": ["ES256"]}, ".algorithm"),
        (CUSTOM | {"issuer": ""}, ".issuer"),
        (CUSTOM | {"applicationID": ""}, ".applicationID"),
        (CUSTOM | {"domain": "https://x.example"}, ".domain"),
        (CUSTOM | {"jwks": "data:application/json;base64,!"}, ".jwks"),
        (CUSTOM | {"jwks": "data:application/json,{"}, ".jwks"),
        (CUSTOM | {"jwks": 'data:application/json,{"keys":[]}'}, ".jwks"),
        (CUSTOM | {"jwks": "data:," + "[" * 100_000}, ".jwks"),
        (CUSTOM | {"jwks": "data:," + " " * 600_000}, ".jwks"),
        ({name: value for name, value in CUSTOM.items() if name != "jwks"}, ".jwks"),
        ({name: value for name, value in CUSTOM.items() if name != "algorithm"}, ".algorithm"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(entry, field):
    error = refusal_of(entry)
    assert error.path == f".providers[1]{field}"
    assert f"(at {error.path})" in error.message


def test_a_field_misspelt_is_shown_the_right_one():
    error = refusal_of(DOMAIN | {"applicationId": "shop"})
    assert "did you mean 'applicationID'" in error.message


@pytest.mark.parametrize("config", [None, [], {}, {"providers": {}}, {"providers": "x"}])
def test_what_is_no_configuration_is_refused(config):
    with pytest.raises(InvalidValueError) as caught:
        parse_providers(config)
    assert caught.value.path == ".providers"


def test_a_configuration_may_be_empty():
    assert parse_providers({"providers": []}) == ()


def test_a_file_is_read_and_named_in_what_is_wrong_with_it(tmp_path, signers):
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"providers": [DOMAIN, inline(signers["RS256"].public())]}))
    assert len(load_providers(file)) == 2
    for text in ('{"providers": [{}]}', "{", "[" * 100_000, '{"providers": 1}'):
        file.write_text(text)
        with pytest.raises(InvalidValueError, match=r"auth\.json"):
            load_providers(file)
    with pytest.raises(InvalidValueError, match="could be read"):
        load_providers(tmp_path / "absent.json")
    with pytest.raises(InvalidValueError, match="could be read"):
        load_providers(tmp_path)
