"""What docs/auth.md shows is what happens."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from livedb.auth.access import Role
from livedb.auth.keys import parse_key_set
from livedb.auth.providers import parse_providers
from livedb.auth.tokens import Verifier
from livedb.errors import AuthenticationError, IdentityProviderError, PermissionDeniedError
from livedb.limits import KEY_SET_FRESH_S, KEY_SET_PAUSE_S, TOKEN_BYTES_MAX, TOKEN_LEEWAY_S

REPOSITORY = Path(__file__).parents[2]
LIVEDB = REPOSITORY / "livedb"
DOCS = (REPOSITORY / "docs/auth.md").read_text()
CODES_OF_OTHERS = {"InvalidAuthConfig", "InvalidAccessToken", "TooManyAccessTokens"}
"""Of those who run the service and give out tokens, not of those who come in."""


def blocks_of(heading) -> list:
    section = re.split(r"^#{2,3} ", DOCS.partition(f"### {heading}\n")[2], flags=re.MULTILINE)[0]
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", section, re.DOTALL)]


@pytest.mark.parametrize("heading", ["Clerk", "Auth0", "Tokens of your own"])
def test_each_example_token_gives_the_identity_beside_it(heading, signers, clock, key_sets):
    config, header, claims, shown = blocks_of(heading)
    (documented,) = parse_providers(config)
    signer = signers[header["alg"]]
    # With a key of this test, so that nobody is asked over the network.
    keys = parse_key_set({"keys": [signer.public(kid=header["kid"])]})
    clock.set_ns(claims["iat"] * 10**9)
    verifier = Verifier([replace(documented, keys=keys)], key_sets, clock)
    verified = verifier.verify(signer.sign(claims, **header))
    assert verified.identity.to_document() == shown


def test_every_code_of_a_refusal_is_explained_with_its_status():
    explained = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", DOCS, flags=re.MULTILINE))
    written = "".join(path.read_text() for path in (LIVEDB / "auth").glob("*.py"))
    codes = set(re.findall(r'code="(\w+)"', written)) - CODES_OF_OTHERS
    assert explained == dict.fromkeys(codes, "401") | {
        AuthenticationError.code: "401",
        IdentityProviderError.code: "503",
        PermissionDeniedError.code: "403",
    }


def test_every_role_is_explained():
    assert re.findall(r"^\| (owner|editor|member|viewer) \|", DOCS, re.MULTILINE) == list(Role)


def test_the_bounds_named_are_the_bounds():
    assert f"at most {TOKEN_BYTES_MAX >> 10} KiB long" in DOCS
    assert f"differ by {TOKEN_LEEWAY_S} seconds" in DOCS
    assert (KEY_SET_FRESH_S, KEY_SET_PAUSE_S) == (600, 10)  # "ten minutes", "ten seconds"
