from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.auth.authorization import (
    AdminKey,
    NoCredentials,
    UserToken,
    parse_admin_key,
    parse_authorization,
    parse_user_token,
)
from livedb.errors import AuthenticationError
from livedb.limits import AUTHORIZATION_BYTES_MAX

ANA = {"issuer": "https://shop.example", "subject": "auth0|1", "name": "Ana", "é": "ÿ>?"}


def encoded(document, encode=b64encode) -> str:
    return encode(json.dumps(document, ensure_ascii=False).encode()).decode()


@pytest.mark.parametrize(
    "header,credentials",
    [
        (None, NoCredentials()),
        ("Bearer a.b.c", UserToken("a.b.c")),
        ("bearer   a.b.c ", UserToken("a.b.c")),
        ("Bearer ldb_e_x", UserToken("ldb_e_x")),
        ("Convex key", AdminKey("key")),
        ("convex key", AdminKey("key")),
        ("Convex shop|key", AdminKey("key")),
        ("Convex prod:happy-otter-123|key", AdminKey("key")),
        ("Convex dev:a|b|key", AdminKey("key")),
    ],
)
def test_every_form_is_read(header, credentials):
    assert parse_authorization(header) == credentials


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("prefix", ["", "prod:shop|"])
def test_a_key_may_act_as_a_user(prefix, encode):
    brought = parse_authorization(f"Convex {prefix}key:{encoded(ANA, encode)}")
    assert brought.key == "key"
    assert brought.acting_as.to_document() == {
        "tokenIdentifier": "https://shop.example|auth0|1",
        **ANA,
    }


def test_a_message_of_the_socket_is_read_the_same_way():
    assert parse_user_token(" a.b.c ") == UserToken("a.b.c")
    assert parse_admin_key("prod:shop|key") == AdminKey("key")
    acting = parse_admin_key("shop|key", ANA)
    assert acting == parse_authorization(f"Convex key:{encoded(ANA)}")


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Convex",
        "Convex ",
        "Convex shop|",
        "Convex :",
        "Convex key:",
        "Convex :e30=",
        "Basic YTpi",
        "Bearer a b",
        "Bearer a\0b",
        "Bearer a\nb",
        "Bearer \u00e9",
        "Bearera.b.c",
        "Convex key:!",
        "Convex key:e30=",
        f"Convex key:{b64encode(b'[1]').decode()}",
        f"Convex key:{b64encode(b'[' * 5000).decode()}",
        f"Convex key:{encoded({'subject': 'x'})}",
        f"Convex key:{encoded({'issuer': 'x', 'subject': 7})}",
        f"Convex key:{encoded({'tokenIdentifier': 'no bar'})}",
        "Bearer " + "a" * AUTHORIZATION_BYTES_MAX,
        "Bearer " + "a" * (1 << 20),
    ],
)
def test_anything_else_is_refused_without_repeating_it(header):
    with pytest.raises(AuthenticationError) as caught:
        parse_authorization(header)
    assert caught.value.code == "InvalidAuthHeader"
    assert caught.value.status == 401
    assert len(caught.value.message) < 300


def test_a_message_of_the_socket_that_is_none_is_refused():
    for value in ("", " ", "\0", "a" * (AUTHORIZATION_BYTES_MAX + 1)):
        for parse in (parse_user_token, parse_admin_key):
            with pytest.raises(AuthenticationError):
                parse(value)
    for acting_as in (7, [], {}, "x", {"issuer": "", "subject": "x"}):
        with pytest.raises(AuthenticationError):
            parse_admin_key("key", acting_as)


def test_no_credentials_show_their_secret():
    brought = [UserToken("s3cret"), AdminKey("s3cret"), parse_admin_key("s3cret", ANA)]
    assert not any("s3cret" in f"{each!r} {each}" for each in brought)


@given(st.text() | st.text(alphabet="Bearer Convex:|=").map(lambda text: f"Convex {text}"))
def test_any_header_is_read_or_refused(header):
    with suppress(AuthenticationError):
        parse_authorization(header)
